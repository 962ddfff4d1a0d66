"""`python -m charlstm`: see `charlstm.cli`."""

import sys

from charlstm.cli import main

sys.exit(main())
