"""The Hugging Face Hub: models pushed and pulled, and the client that `charlstm.space` uses too."""

import os

from charlstm.process_setup import NUMBERS_OF_THE_HUB, check_certificates, check_numbers

# Where Windows allows no links the client keeps a second copy, and would say so in Python's words.
os.environ.setdefault("HF_HUB_DISABLE_SYMLINKS_WARNING", "1")
check_numbers(NUMBERS_OF_THE_HUB)  # the client would end with a traceback
check_certificates()
