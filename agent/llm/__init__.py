"""Calling a language model: providers, retries, prices."""
