"""Kernelwright: an agent that writes fast kernels and judges them so that the numbers hold."""

__version__ = "0.1.0"
