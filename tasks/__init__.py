"""What is to be made fast, and the vocabulary. Imports nothing of ours."""
