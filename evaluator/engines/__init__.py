"""Where kernels are judged."""
