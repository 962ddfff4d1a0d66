"""Settings: one place for names, bounds and meanings, and errors a person can act on."""

import json
import math
from typing import Annotated, Literal, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from charlstm.config import (
    PRESET_SUMMARIES,
    PRESETS,
    Config,
    ModelConfig,
    PresetName,
    SampleConfig,
    Settings,
    TrainConfig,
)
from charlstm.config_fields import Unit, bounds_of, describe_bounds, help_text, unit_of
from charlstm.errors import CharLSTMError, ConfigError

CONFIGS = (ModelConfig, TrainConfig, SampleConfig)
# pydantic's own JSON schema is the second opinion on every bound: (class, name, schema of the field)
FIELDS = [(cls, name, schema) for cls in CONFIGS for name, schema in cls.model_json_schema()["properties"].items()]
NUMBERS = [field for field in FIELDS if field[2]["type"] in ("integer", "number")]
CHOICES = [field for field in FIELDS if "enum" in field[2]]
WHOLE = [field for field in NUMBERS if field[2]["type"] == "integer"]
REAL = [field for field in NUMBERS if field[2]["type"] == "number"]


def each_of(fields):
    """Parametrise over fields, with readable test names."""
    return pytest.mark.parametrize(
        ("cls", "name", "schema"), fields, ids=[f"{cls.__name__}.{name}" for cls, name, _ in fields]
    )


def lower_of(schema):
    return schema.get("minimum", schema.get("exclusiveMinimum"))


def upper_of(schema):
    return schema.get("maximum", schema.get("exclusiveMaximum"))


def beyond(schema):
    """The nearest values of the field's kind that its bounds exclude."""
    if schema["type"] == "integer":
        return schema["minimum"] - 1, schema["maximum"] + 1
    lower, upper = float(lower_of(schema)), float(upper_of(schema))
    below = lower if "exclusiveMinimum" in schema else math.nextafter(lower, -math.inf)
    above = upper if "exclusiveMaximum" in schema else math.nextafter(upper, math.inf)
    return below, above


def message_of(cls, values):
    """The one sentence with which `values` are refused."""
    with pytest.raises(ConfigError) as caught:
        cls(**values)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    assert "pydantic" not in message
    return message


# --- the fields ---


@each_of(FIELDS)
def test_every_field_says_what_it_means(cls, name, schema):
    assert len(schema["description"]) > 10
    assert not schema["description"].endswith("."), "the bounds follow in brackets"
    assert schema["description"] in help_text(cls.model_fields[name])


@each_of(FIELDS)
def test_every_field_is_a_number_a_choice_or_a_text_and_has_a_default(cls, name, schema):
    assert schema["type"] in ("integer", "number", "string")
    assert "default" in schema
    assert getattr(cls(), name) == schema["default"]


@each_of(NUMBERS)
def test_every_number_has_a_lower_and_an_upper_bound_with_the_default_between(cls, name, schema):
    lower, upper = bounds_of(cls.model_fields[name])
    assert (lower, upper) == (lower_of(schema), upper_of(schema))
    assert lower < upper
    assert lower <= schema["default"] <= upper


@each_of(WHOLE)
def test_every_whole_number_but_the_seed_has_a_unit(cls, name, schema):
    assert schema["type"] == "integer"
    assert bool(unit_of(cls.model_fields[name])) == (name != "seed")


def test_no_name_means_two_things_in_one_run():
    assert not set(ModelConfig.model_fields) & set(TrainConfig.model_fields)


def test_the_names_of_the_contract_are_there():
    names = set(ModelConfig.model_fields) | set(TrainConfig.model_fields)
    contract = (
        "seq_len batch_size embedding_dim hidden_size num_layers dropout learning_rate weight_decay "
        "max_grad_norm warmup_steps max_steps max_minutes log_every eval_every sample_every"
    )
    assert set(contract.split()) <= names
    sampling = "num_chars temperature top_k top_p seed no_repeat stop num_samples"
    assert set(sampling.split()) == set(SampleConfig.model_fields)


@pytest.mark.parametrize("cls", [*CONFIGS, Settings])
def test_settings_can_not_be_changed_afterwards(cls):
    config = cls()
    name = next(iter(cls.model_fields))
    before = getattr(config, name)
    with pytest.raises(ValidationError, match="frozen"):
        setattr(config, name, before)
    assert getattr(config, name) == before


# --- bounds and refusals ---


@each_of(NUMBERS)
def test_a_bound_that_is_included_is_accepted(cls, name, schema):
    for value in (schema.get("minimum"), schema.get("maximum")):
        if value is not None:
            assert getattr(cls(**{name: value}), name) == value


@each_of(NUMBERS)
def test_a_value_beyond_a_bound_is_refused_with_name_value_and_both_limits(cls, name, schema):
    for value in beyond(schema):
        message = message_of(cls, {name: value})
        assert message.startswith(f"{name} is {value!r}; ")
        assert f"{lower_of(schema):,}" in message
        assert f"{upper_of(schema):,}" in message


@each_of(NUMBERS)
@pytest.mark.parametrize("value", ["many", None, [1], "1,5"])
def test_what_is_no_number_is_refused_for_a_number(cls, name, schema, value):
    message = message_of(cls, {name: value})
    assert message.startswith(f"{name} is {value!r}; ")
    assert ("a whole number" in message) == (schema["type"] == "integer")


@each_of(WHOLE)
def test_a_fraction_is_refused_for_a_whole_number(cls, name, schema):
    value = schema["minimum"] + 0.5
    assert message_of(cls, {name: value}).startswith(f"{name} is {value!r}; it must be a whole number ")


@each_of(REAL)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused(cls, name, schema, value):
    assert f"{upper_of(schema):,}" in message_of(cls, {name: value})


@each_of(CHOICES)
def test_a_choice_is_one_of_those_named_in_the_refusal(cls, name, schema):
    for choice in schema["enum"]:
        assert getattr(cls(**{name: choice}), name) == choice
    message = message_of(cls, {name: "none of these"})
    assert message == f"{name} is 'none of these'; it must be {' or '.join(schema['enum'])}."


@pytest.mark.parametrize("cls", CONFIGS)
def test_an_unknown_name_is_refused_and_the_known_are_named(cls):
    message = message_of(cls, {"learning_rat": 0.1})
    assert "'learning_rat'" in message
    assert all(name in message for name in cls.model_fields)


def test_an_unknown_name_of_a_run_is_refused_with_the_known_of_model_and_training():
    with pytest.raises(ConfigError, match="'hiden_size'") as caught:
        Settings.from_flat({"hiden_size": 128})
    for name in (*ModelConfig.model_fields, *TrainConfig.model_fields):
        assert name in str(caught.value)


def test_a_name_of_the_other_half_is_unknown_to_this_one():
    assert "'seq_len'" in message_of(ModelConfig, {"seq_len": 64})
    assert "'hidden_size'" in message_of(TrainConfig, {"hidden_size": 64})


def test_an_empty_corpus_name_is_refused_in_words():
    assert message_of(TrainConfig, {"corpus": ""}) == "corpus is ''; it must be a text that is not empty."


def test_a_long_text_is_refused_without_being_repeated():
    message = message_of(TrainConfig, {"sample_prompt": "long\n" * 1000})
    assert message.startswith("sample_prompt is 'long")
    assert message.endswith("it must be a text of at most 1,000 characters.")
    assert len(message) < 200
    assert len(TrainConfig(sample_prompt="x" * 1000).sample_prompt) == 1000


def test_a_config_error_is_this_packages_and_a_value_error():
    assert issubclass(ConfigError, CharLSTMError)
    assert issubclass(ConfigError, ValueError)


# --- flat settings ---


@pytest.mark.parametrize("name", PRESETS)
def test_a_presets_flat_settings_come_back_the_same_also_through_json(name):
    preset = Settings.preset(name)
    assert Settings.from_flat(preset.flat()) == preset
    assert Settings.from_flat(json.loads(json.dumps(preset.flat()))) == preset


def test_flat_settings_hold_every_name_of_model_and_training_once():
    flat = Settings(model=ModelConfig(hidden_size=7), train=TrainConfig(seq_len=9)).flat()
    assert list(flat) == [*ModelConfig.model_fields, *TrainConfig.model_fields]
    assert flat["hidden_size"] == 7
    assert flat["seq_len"] == 9


def values_of(schema):
    """A hypothesis strategy for what a field accepts."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema["type"] == "string":
        return st.text(min_size=schema.get("minLength", 0), max_size=20)
    if schema["type"] == "integer":
        return st.integers(schema["minimum"], schema["maximum"])
    open_ends = {"exclude_min": "exclusiveMinimum" in schema, "exclude_max": "exclusiveMaximum" in schema}
    return st.floats(lower_of(schema), upper_of(schema), **open_ends)


@settings(deadline=None)
@given(
    st.fixed_dictionaries(
        {
            name: st.sampled_from(["auto", "utf-8", "cp1252", "gb18030"]) if name == "encoding" else values_of(schema)
            for cls, name, schema in FIELDS
            if cls is not SampleConfig
        }
    )
)
def test_any_accepted_settings_survive_a_round_trip_through_json(values):
    values["max_steps"] = max(1, values["max_steps"])
    values["max_minutes"] = max(0.1, values["max_minutes"])  # which plan needs
    read = Settings.from_flat(json.loads(json.dumps(Settings.from_flat(values).flat())))
    prompt = values["sample_prompt"].removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    assert read.flat() == {**values, "sample_prompt": prompt}  # which has the line ends of a text


@pytest.mark.parametrize("limit", ["max_steps", "max_passes", "max_minutes"])
def test_any_one_of_the_three_limits_is_enough_and_without_all_a_run_is_refused(limit):
    endless = {"max_steps": 0, "max_passes": 0, "max_minutes": 0}
    with pytest.raises(ConfigError, match="max_steps, max_passes or max_minutes"):
        Settings.from_flat(endless)
    assert Settings.from_flat({**endless, limit: 2}).flat()[limit] == 2


# --- presets ---


@pytest.mark.parametrize("name", PRESETS)
def test_a_presets_values_win_over_the_defaults_and_the_rest_are_the_defaults(name):
    flat = Settings.preset(name).flat()
    assert flat == {**Settings().flat(), **PRESETS[name]}
    assert flat != Settings().flat()


@pytest.mark.parametrize("name", PRESETS)
def test_overrides_win_over_a_preset_and_leave_its_other_values(name):
    changed = Settings.preset(name, seq_len=33, hidden_size=44).flat()
    plain = Settings.preset(name).flat()
    assert changed["seq_len"] == 33
    assert changed["hidden_size"] == 44
    assert {key for key in plain if plain[key] != changed[key]} == {"seq_len", "hidden_size"}


def test_an_override_is_checked_like_any_value():
    with pytest.raises(ConfigError, match="seq_len is 0; it must be a whole number from 1 to 4,096 characters"):
        Settings.preset("minute", seq_len=0)


def test_an_unknown_preset_is_refused_and_the_known_are_named():
    with pytest.raises(ConfigError) as caught:
        Settings.preset("huge")
    assert str(caught.value) == "there is no preset 'huge'; choose one of auto, minute, best, blog."


def test_blog_is_the_posts_experiment():
    flat = Settings.preset("blog").flat()
    post = {
        "level": "chars",
        "embedding_dim": 0,  # one-hot
        "hidden_size": 250,
        "num_layers": 1,
        "dropout": 0.0,
        "forget_bias": 0.0,  # PyTorch's own draw
        "recurrent_init": "uniform",  # likewise
        "batch_size": 1,
        "seq_len": 100,
        "learning_rate": 0.01,
        "lr_schedule": "constant",
        "adam_beta1": 0.9,  # Adam's own
        "adam_beta2": 0.999,
        "warmup_steps": 0,
        "weight_decay": 0.0,
        "max_grad_norm": 0.0,  # not clipped
        "max_steps": 0,
        "max_passes": 1.0,
        "max_minutes": 0.0,
        "sample_every": 500,
        "sample_chars": 500,
        "sample_temperature": 1.0,
    }
    assert {name: flat[name] for name in post} == post


def test_minute_ends_after_a_minute():
    assert Settings.preset("minute").train.max_minutes == 1.0
    assert Settings.preset("minute").train.max_steps == 0
    assert Settings.preset("minute").train.max_passes == 0


def test_every_preset_has_a_summary_and_a_name_of_the_type():
    assert set(PRESETS) == set(PRESET_SUMMARIES) == set(get_args(PresetName)) == {"auto", "blog", "minute", "best"}


# --- wording ---


class Example(Config):
    """One field of each kind."""

    whole: Annotated[int, Unit("cells")] = Field(1, ge=1, le=2048, description="Size")
    plain: int = Field(1, ge=0, le=9, description="Count")
    real: Annotated[float, Unit("minutes")] = Field(1.0, ge=0, le=10**5, description="Time")
    half_open: float = Field(0.1, ge=0, lt=1, description="Share dropped")
    positive: float = Field(0.1, gt=0, le=0.5, description="Share kept")
    between: float = Field(0.1, gt=0, lt=1, description="Share")
    choice: Literal["chars", "bytes"] = Field("chars", description="Kind")
    text: str = Field("", description="Words")
    short: str = Field("", max_length=1000, description="Prompt")
    name: str = Field("x", min_length=1, description="Name")


@pytest.mark.parametrize(
    ("name", "limits", "shown"),
    [
        ("whole", "a whole number from 1 to 2,048 cells", "Size (a whole number from 1 to 2,048 cells)"),
        ("plain", "a whole number from 0 to 9", "Count (a whole number from 0 to 9)"),
        ("real", "a number from 0 to 100,000 minutes", "Time (a number from 0 to 100,000 minutes)"),
        ("half_open", "a number at least 0 and below 1", "Share dropped (a number at least 0 and below 1)"),
        ("positive", "a number above 0 and at most 0.5", "Share kept (a number above 0 and at most 0.5)"),
        ("between", "a number above 0 and below 1", "Share (a number above 0 and below 1)"),
        ("choice", "chars or bytes", "Kind"),
        ("text", "a text", "Words"),
        ("short", "a text of at most 1,000 characters", "Prompt"),
        ("name", "a text that is not empty", "Name"),
    ],
)
def test_limits_and_help_are_said_in_words(name, limits, shown):
    assert describe_bounds(Example.model_fields[name]) == limits
    assert help_text(Example.model_fields[name]) == shown


@pytest.mark.parametrize(
    ("name", "bounds", "unit"),
    [
        ("whole", (1, 2048), "cells"),
        ("half_open", (0, 1), ""),
        ("positive", (0, 0.5), ""),
        ("real", (0, 100_000), "minutes"),
        ("choice", (None, None), ""),
        ("short", (None, None), ""),
    ],
)
def test_bounds_and_unit_are_those_declared(name, bounds, unit):
    assert bounds_of(Example.model_fields[name]) == bounds
    assert unit_of(Example.model_fields[name]) == unit
