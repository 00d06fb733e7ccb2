"""What a model said, read: a kernel or the problem, and whether the kernel is new."""
