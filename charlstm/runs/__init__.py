"""Training runs on disk: directories, workers, history, control, limits and retention."""
