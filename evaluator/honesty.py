"""What counts as the kernel's own work (design §3), from the operators that were seen to run. No torch at import.

Operators come as the dispatcher names them (``aten.addmm.default``), as the profiler does (``aten::addmm``), or as the
names of device kernels (``ampere_sgemm_128x64_tn``, ``void at::native::…``). Launches of Triton and native functions
are no operators: they are counted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from kernelwright.evaluator.screen_python import Finding

_FREE_BY_KIND: Mapping[str, str] = {
    "allocation and filling of buffers": """
        empty empty_like empty_strided empty_permuted new_empty new_empty_strided new_zeros new_ones new_full zeros
        zeros_like ones ones_like full full_like fill zero scalar_tensor arange lift lift_fresh lift_fresh_copy set
        resize resize_as resize_output _resize_output pin_memory _pin_memory is_pinned record_stream
        _efficientzerotensor
    """,
    "views and shapes": """
        view view_as _unsafe_view reshape reshape_as _reshape_alias _reshape_copy expand expand_as permute t
        transpose swapaxes swapdims movedim moveaxis numpy_t mt mh adjoint squeeze unsqueeze slice select as_strided
        as_strided_scatter unfold narrow split split_with_sizes chunk tensor_split hsplit vsplit dsplit unsafe_split
        unsafe_split_with_sizes unsafe_chunk unbind flatten unflatten ravel diagonal broadcast_to broadcast_tensors
        atleast_1d atleast_2d atleast_3d view_as_real view_as_complex real imag _conj conj _neg_view _conj_physical
        resolve_conj resolve_neg detach alias _test_ambiguous_defaults view_dtype
    """,
    "copies and casts": """
        contiguous clone copy _copy_from _copy_from_and_resize _foreach_copy to _to_copy type_as _to_dense to_dense
        _autocast_to_reduced_precision _autocast_to_full_precision _to_cpu cpu cuda float half bfloat16 double
        npu_dtype_cast _npu_dtype_cast npu_format_cast
    """,
    "metadata and scalars": """
        item _local_scalar_dense size sizes stride storage_offset numel dim sym_size sym_stride sym_numel
        sym_storage_offset sym_is_contiguous is_contiguous is_complex is_floating_point is_signed is_inference
        is_conj is_neg is_same_size is_set_to is_leaf is_nonzero is_sparse is_strides_like_format
        is_non_overlapping_and_dense result_type can_cast promote_types layout dtype device prim_layout
        _has_compatible_shallow_copy_type _version data requires_grad retain_grad output_nr _assert_async
        _assert_tensor_metadata _has_same_storage_numel _is_zerotensor is_vulkan_available dense_dim sparse_dim
    """,
}
_FREE = frozenset(name for names in _FREE_BY_KIND.values() for name in names.split())
# Operators with a fused epilogue (_linear_pointwise, _addmm_activation, cudnn_convolution_relu) are of no class: they would
# leave the activation in the library too.
_BY_CLASS: Mapping[str, str] = {
    "attention": """
        scaled_dot_product_attention _scaled_dot_product_attention_math _scaled_dot_product_attention_math_for_mps
        _scaled_dot_product_flash_attention _scaled_dot_product_flash_attention_for_cpu
        _scaled_dot_product_efficient_attention _scaled_dot_product_cudnn_attention
        _scaled_dot_product_fused_attention_overrideable _flash_attention_forward _efficient_attention_forward
        _cudnn_attention_forward _fused_sdp_choice _native_multi_head_attention _triton_scaled_dot_attention
        _triton_multi_head_attention flex_attention
    """,
    "matmul": """
        mm bmm addmm baddbmm addbmm addmv mv dot vdot inner matmul linear einsum tensordot chain_matmul
        linalg_matmul linalg_multi_dot linalg_vecdot bilinear _trilinear addr outer ger kron
        _scaled_mm _scaled_grouped_mm _grouped_mm _int_mm _weight_int4pack_mm _weight_int8pack_mm mkldnn_linear
        _mkl_linear sparse_addmm _sparse_mm _sparse_addmm _foreach_addmm __matmul__
    """,
    "convolution": """
        convolution _convolution convolution_overrideable _convolution_mode conv1d conv2d conv3d conv_transpose1d
        conv_transpose2d conv_transpose3d cudnn_convolution cudnn_convolution_transpose
        mkldnn_convolution thnn_conv2d _slow_conv2d_forward slow_conv3d
        slow_conv3d_forward slow_conv_transpose2d slow_conv_transpose3d slow_conv_dilated2d slow_conv_dilated3d
        _conv_depthwise2d conv_depthwise3d conv_tbc _nnpack_spatial_convolution miopen_convolution
        miopen_convolution_transpose miopen_depthwise_convolution
    """,
    "fft": "stft istft",
}
_CLASSES = {kind: frozenset(names.split()) for kind, names in _BY_CLASS.items()}
_OPERATOR = re.compile(r"^(?P<space>[A-Za-z_]\w*)(?:::|\.)(?P<name>\w+)(?:\.\w+)?$")
_SPACES = {
    "aten",
    "prims",
    "mkldnn",
    "mkl",
    "quantized",
    "_quantized",
    "sparse",
    "xnnpack",
    "prepacked",
    "onednn",
    "fbgemm",
    "npu",
}
"""Namespaces of library work; any other was registered by the kernel itself, and what those call is seen too."""
_LIBRARY_KERNEL = re.compile(
    r"at::native|at::cuda|at::_|cublas|cudnn|cutlass|cusparse|cufft|cusolver|thrust::|cub::|pytorch_flash|fmha|flash_fwd|"
    r"xmma|gemm|gemv|regular_fft|vector_fft|winograd|implicit_convolve|dot_kernel|reduce_1Block"
)
"""Names with template arguments or namespaces, as C++ gives them."""
_LIBRARY_PREFIX = re.compile(
    r"(?:maxwell|pascal|volta|turing|ampere|hopper|blackwell|sm\d+|nvjet|cutlass|cudnn|fmha_cutlass|splitKreduce|gemv\d|gemmSN|gemmk\d)"
    r"(?:_|[A-Z0-9])"
)
"""Plain names, as Triton gives them to a kernel's own work too: only what assembly libraries call themselves."""
_FREE_KERNEL = re.compile(
    r"FillFunctor|copy_kernel|direct_copy|CopyKernel|float\d*_copy|MemsetKernel|arange|elementwise_kernel_with_index"
)
_MATMUL_KERNEL = re.compile(r"gemm|gemv|cublas|nvjet|xmma|dot_kernel|splitKreduce", re.IGNORECASE)
_CONVOLUTION_KERNEL = re.compile(r"conv|winograd|fprop|dgrad", re.IGNORECASE)
_ATTENTION_KERNEL = re.compile(r"fmha|flash|attention", re.IGNORECASE)


def base_name(op: str) -> str:
    """``addmm`` for ``aten.addmm.default``, ``aten::addmm_``, ``addmm.out``; empty for the name of a device kernel."""
    match = _OPERATOR.match(op)
    if match:
        name = match["name"]
    elif re.fullmatch(r"\w+(\.\w+)?", op):
        name = op.split(".")[0]
    else:
        return ""
    if name.endswith("_") and not name.endswith("__"):
        name = name[:-1]
    return name


def classify(op: str) -> str:
    """``"free"`` (allocation, views, copies, casts, metadata) or ``"library"``."""
    match = _OPERATOR.match(op)
    if match and "::native" not in op:
        if match["space"] not in _SPACES:
            return "free"
        return "free" if _is_free(base_name(op)) else "library"
    pattern = _LIBRARY_PREFIX.match if re.fullmatch(r"\w+", op) else _LIBRARY_KERNEL.search
    return "library" if pattern(op) and not _FREE_KERNEL.search(op) else "free"


def _is_free(name: str) -> bool:
    asks = name.startswith("is_") or name.endswith(("_available", "_is_acceptable"))
    return asks or name in _FREE or name.lower() in _FREE or name.removesuffix("_copy") in _FREE


def library_class(op: str) -> str:
    """``matmul``, ``convolution``, ``attention`` or ``fft`` of an operator or device kernel, else empty."""
    name = base_name(op)
    if name:
        if name.startswith(("_fft_", "fft_")):
            return "fft"
        known = next((kind for kind, names in _CLASSES.items() if name in names), "")
        if known or _OPERATOR.match(op):
            return known
    for kind, pattern in (
        ("attention", _ATTENTION_KERNEL),
        ("convolution", _CONVOLUTION_KERNEL),
        ("matmul", _MATMUL_KERNEL),
    ):
        if pattern.search(op):
            return kind
    return "fft" if "_fft" in op or "cufft" in op else ""


def compute_ops(ops: Mapping[str, int]) -> dict[str, int]:
    """The operators that compute: what is left without views, copies, casts and allocation."""
    return {op: count for op, count in ops.items() if count > 0 and classify(op) == "library"}


def may_stay(task_library: tuple[str, ...], reference_ops: Mapping[str, int]) -> frozenset[str]:
    """Classes that may stay library calls: those of a reference that does more than one thing, and the task's list."""
    allowed = {library_class(name) for name in task_library} - {""}
    computed = compute_ops(reference_ops)
    classes = {library_class(op) for op in computed}
    if len(classes) > 1:  # at least one operator of another class, or of none, beside it
        allowed |= classes - {""}
    return frozenset(allowed)


def rule(
    task_library: tuple[str, ...], reference_ops: Mapping[str, int], kernel_ops: Mapping[str, int], native_calls: int
) -> Finding | None:
    """The rule of design §3 on what was seen: None when the work is the kernel's own, else a rejecting finding.

    ``reference_ops`` and ``kernel_ops`` map operator names to counts over one forward; ``native_calls`` counts launches
    of Triton kernels and native functions.
    """
    classes = may_stay(task_library, reference_ops)
    names = {base_name(name) or name for name in task_library}
    for op, count in sorted(kernel_ops.items()):
        if count <= 0 or classify(op) == "free" or base_name(op) in names:
            continue
        kind = library_class(op)
        if kind and kind in classes:
            continue
        return Finding("reject", "library", 0, f"{op} ran {count}× in forward: {_remedy(kind, classes)}")
    if native_calls <= 0:
        return Finding("reject", "no_own_work", 0, "forward launched no kernel of its own; all it did was left to torch")
    return None


def _remedy(kind: str, classes: frozenset[str]) -> str:
    if classes:
        return f"only {', '.join(sorted(classes))} may stay in the library here; the rest must be the kernel's own"
    if kind:
        return f"the task is this {kind}; the kernel must do it itself"
    return "library work; the kernel must do it itself"
