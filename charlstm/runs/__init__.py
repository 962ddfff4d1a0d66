"""Training runs on disk: directories, workers, history, control, quotas and retention."""
