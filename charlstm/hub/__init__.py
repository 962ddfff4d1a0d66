"""The Hugging Face Hub: models are pushed and pulled, the app is deployed, runs are kept. Nothing else speaks to it."""

import os

# Where Windows allows no links the client keeps a second copy, and would say so in Python's words.
os.environ.setdefault("HF_HUB_DISABLE_SYMLINKS_WARNING", "1")
