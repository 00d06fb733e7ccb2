"""``torch.utils.cpp_extension.load_inline`` without building it: its kernels are compiled, its host functions become Python."""
