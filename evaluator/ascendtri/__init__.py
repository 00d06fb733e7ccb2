"""What Triton-Ascend kernels are lowered by and run on: a script for their own environment, and C. Imported by nobody."""
