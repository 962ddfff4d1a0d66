"""Entry point of the app, on a laptop (`python app.py [--host H] [--port P]`) and on a Space: `charlstm app`."""

import sys

from charlstm.cli import main

if __name__ == "__main__":
    sys.exit(main(["app", *sys.argv[1:]]))
