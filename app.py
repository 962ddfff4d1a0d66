"""Entry point of the app, on a laptop (`python app.py [--host H] [--port P]`) and on a Space."""

from pathlib import Path

from charlstm.ui.app import main

if __name__ == "__main__":
    main(Path(__file__).resolve().parent / "checkpoints")
