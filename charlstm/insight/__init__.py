"""What a network has learned: its states, units with a meaning, what holding them does, and why a letter is likely.

Import each function from its module, so that none loads more than it needs:

* `states`: `trace` and `read_streams` read a text and keep what each unit was.
* `report`: `inspect_model` names units and tries what they change; `Insight` keeps that beside a model.
* `units`: `name_units` finds the units that go with properties of a text.
* `properties`: `find_properties` tells where in a text each property holds.
* `hold_effects`: `measure_effects` and `Probe` tell how holding a unit changes what is predicted.
* `hold_experiment`: `run_experiment` tells how it changes what is written.
* `attribution`: `explain_letter` tells which earlier letters make one likely.
* `cell`: `explain_step` takes a step of one unit apart;
  `measure_carried_state` tells how long a foreign state disturbs, `score_with_forget_gate` what forgetting costs.
* `horizon`: `measure_horizon` tells how far back a network remembers.
* `neighbors`: `StateIndex` finds places of a text where the network was in a like state.
* `learning_film`: `record_film` and `make_film` follow units through training.
"""
