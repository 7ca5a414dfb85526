"""Who waits: thin loops over `advance` and the scheduler."""
