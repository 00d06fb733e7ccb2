"""A read-only page of all runs and of memory, for a browser on this machine."""
