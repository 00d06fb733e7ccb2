"""Several models: what each is worth, which to ask, how different their answers are."""
