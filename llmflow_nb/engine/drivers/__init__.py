"""The drivers: thin loops over `advance` and the scheduler, which do all waiting."""
