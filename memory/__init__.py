"""What was tried, what it was worth, and what is known."""
