"""Training runs on disk: `store` knows their folders, `worker` does the work, `manager` starts and stops it."""
