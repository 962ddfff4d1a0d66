"""The Hugging Face Hub: models pushed and pulled, and the client that `charlstm.space` uses too."""

import os

# Where Windows allows no links the client keeps a second copy, and would say so in Python's words.
os.environ.setdefault("HF_HUB_DISABLE_SYMLINKS_WARNING", "1")
