"""Files of models given as a folder or a file, and the names to call them. Starts without torch."""

from pathlib import Path

MODEL_FILE = "model.safetensors"
SNAPSHOTS = "snapshots"  # of a run's network while it learned: a folder in the run's


def model_file(model: Path) -> Path:
    """Return the file of a model that is given as a folder or a file."""
    return model if model.suffix == ".safetensors" and not model.is_dir() else model / MODEL_FILE


def model_name(model: Path) -> str:
    """Return what to call a model that is given as a folder or a file."""
    return model.stem if model_file(model) == model else model.resolve().name
