"""``kernelwright tune``: a whole model made faster by kernels that the ordinary loop found, and verified end to end."""
