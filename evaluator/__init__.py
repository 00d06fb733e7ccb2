"""Kernel and task in, verdict out. Trusts nothing about the kernel; needs torch, numpy, pyyaml and a compiler."""
