"""Benches: many tasks, several samples each, and figures that can be compared."""
