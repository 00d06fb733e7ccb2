"""The search, the writers, and everything a person touches."""
