"""What a model is told: the universal prompt, its knowledge and its diagnosis."""
