"""Entry point of the app, on a laptop (`python app.py [--host H] [--port P]`) and on a Space."""

import io
import sys
from pathlib import Path

from charlstm.homes import ensure_home
from charlstm.hosting import place_of_runs, prepare_environment
from charlstm.output import ignore_output_errors, prepare_output

prepare_output()
ensure_home()
prepare_environment()

from charlstm.ui.app import main

if __name__ == "__main__":
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # the address is seen at once, in a log too
    with ignore_output_errors():  # nobody need read along
        main(place_of_runs(Path(__file__).resolve().parent / "checkpoints"))
