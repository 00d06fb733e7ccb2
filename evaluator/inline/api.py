"""What of torch's and CUDA's C++ interfaces host functions may call, and the Python that stands for it. Data, and its reader.

A row: name, kinds of arguments, kind of the result, Python with the arguments as ``{0}``, ``{1}`` … (of a method ``{0}`` is the
tensor). Operators that compute are torch's own, called through Python: the judge sees them as it sees those of any kernel.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from kernelwright.evaluator.inline.kinds import Type

_KINDS = {
    "long": Type("int64"),
    "int": Type("int32"),
    "size": Type("uint64"),
    "bool": Type("bool"),
    "double": Type("float64"),
    "sizes": Type("list", "int64"),
    "tensors": Type("list", "tensor"),
    "number": Type("number"),
}


@dataclass(frozen=True)
class Call:
    """One way to call a function."""

    arguments: tuple[Type, ...]
    result: Type
    python: str


def _table(text: str) -> Mapping[str, tuple[Call, ...]]:
    found: dict[str, tuple[Call, ...]] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        row = re.fullmatch(r"([\w ]+)\(([\w, ]*)\) (\w+) (.+)", line)
        assert row is not None, line
        arguments = tuple(_kind(part.strip()) for part in row[2].split(",") if part.strip())
        for name in row[1].split():
            found[name] = (*found.get(name, ()), Call(arguments, _kind(row[3]), row[4].replace("NAME", name)))
    return found


def _kind(name: str) -> Type:
    return _KINDS.get(name) or Type(name)


METHODS = _table("""
    size() sizes {0}.shape
    size(long) long {0}.size({1})
    sizes() sizes {0}.shape
    strides() sizes {0}.stride()
    stride(long) long {0}.stride({1})
    dim ndimension() long {0}.dim()
    numel() long {0}.numel()
    nbytes() size {0}.nbytes
    element_size itemsize() long {0}.element_size()
    storage_offset() long {0}.storage_offset()
    scalar_type dtype() dtype {0}.dtype
    type() tensortype {0}
    device() device {0}.device
    get_device() long {0}.get_device()
    options() options _k.Options({0}.dtype, {0}.device)
    is_cuda() bool {0}.is_cuda
    is_cpu() bool _k.false({0}.is_cuda)
    is_contiguous() bool {0}.is_contiguous()
    is_contiguous(layout) bool {0}.is_contiguous(memory_format={1})
    is_floating_point() bool {0}.is_floating_point()
    requires_grad() bool {0}.requires_grad
    defined() bool ({0} is not None)
    contiguous() tensor {0}.contiguous()
    contiguous(layout) tensor {0}.contiguous(memory_format={1})
    view reshape(sizes) tensor {0}.NAME({1})
    view_as reshape_as expand_as(tensor) tensor {0}.NAME({1})
    expand permute repeat(sizes) tensor {0}.NAME({1})
    transpose(long, long) tensor {0}.transpose({1}, {2})
    select(long, long) tensor {0}.select({1}, {2})
    narrow(long, long, long) tensor {0}.narrow({1}, {2}, {3})
    unsqueeze squeeze(long) tensor {0}.NAME({1})
    squeeze flatten t clone detach alias() tensor {0}.NAME()
    flatten(long) tensor {0}.flatten({1})
    flatten(long, long) tensor {0}.flatten({1}, {2})
    to(dtype) tensor {0}.to({1})
    to(device) tensor {0}.to({1})
    to(options) tensor {0}.to(**{1}.given)
    cuda() tensor {0}.cuda()
    zero_() tensor {0}.zero_()
    fill_(number) tensor {0}.fill_({1})
    copy_(tensor) tensor {0}.copy_({1})
    sqrt exp log tanh relu sigmoid abs neg rsqrt reciprocal sin cos() tensor {0}.NAME()
    sum mean max min prod() tensor {0}.NAME()
    sum mean(sizes) tensor {0}.NAME({1})
    sum mean(sizes, bool) tensor {0}.NAME({1}, {2})
    argmax argmin cumsum cumprod(long) tensor {0}.NAME({1})
    softmax log_softmax(long) tensor {0}.NAME({1})
    matmul mm bmm mv dot maximum minimum(tensor) tensor {0}.NAME({1})
    add sub mul div add_ sub_ mul_ div_ pow(tensor) tensor {0}.NAME({1})
    add sub mul div add_ sub_ mul_ div_ pow(number) tensor {0}.NAME({1})
    clamp(number, number) tensor {0}.clamp({1}, {2})
    clamp_min clamp_max(number) tensor {0}.NAME({1})
    addmm baddbmm(tensor, tensor) tensor {0}.NAME({1}, {2})
""")
"""Of tensors."""
FUNCTIONS = _table("""
    zeros ones empty(sizes) tensor torch.NAME({0})
    zeros ones empty(sizes, options) tensor torch.NAME({0}, **{1}.given)
    full(sizes, number, options) tensor torch.full({0}, {1}, **{2}.given)
    full(sizes, number) tensor torch.full({0}, {1})
    zeros_like ones_like empty_like(tensor) tensor torch.NAME({0})
    zeros_like ones_like empty_like(tensor, options) tensor torch.NAME({0}, **{1}.given)
    full_like(tensor, number) tensor torch.full_like({0}, {1})
    arange(long, options) tensor torch.arange({0}, **{1}.given)
    TensorOptions() options _k.Options()
    TensorOptions(options) options {0}
    dtype(dtype) options _k.Options(dtype={0})
    device(device) options _k.Options(device={0})
    Device(device) device {0}
    Device(device, long) device torch.device({0}.type, {1})
    device_of(tensor) device {0}.device
    sqrt exp log tanh relu sigmoid abs neg rsqrt sin cos sum mean max min prod t(tensor) tensor torch.NAME({0})
    sum mean(tensor, sizes) tensor torch.NAME({0}, {1})
    sum mean(tensor, sizes, bool) tensor torch.NAME({0}, {1}, {2})
    softmax log_softmax cumsum cumprod argmax argmin(tensor, long) tensor torch.NAME({0}, {1})
    matmul mm bmm mv dot maximum minimum add sub mul div pow(tensor, tensor) tensor torch.NAME({0}, {1})
    add sub mul div pow(tensor, number) tensor torch.NAME({0}, {1})
    clamp(tensor, number, number) tensor torch.clamp({0}, {1}, {2})
    transpose(tensor, long, long) tensor torch.transpose({0}, {1}, {2})
    addmm baddbmm(tensor, tensor, tensor) tensor torch.NAME({0}, {1}, {2})
    linear(tensor, tensor) tensor torch.nn.functional.linear({0}, {1})
    linear(tensor, tensor, optional) tensor torch.nn.functional.linear({0}, {1}, {2})
    conv1d conv2d conv3d(tensor, tensor) tensor torch.NAME({0}, {1})
    conv1d conv2d conv3d(tensor, tensor, optional) tensor torch.NAME({0}, {1}, {2})
    conv1d conv2d conv3d(tensor, tensor, optional, sizes) tensor torch.NAME({0}, {1}, {2}, {3})
    conv1d conv2d conv3d(tensor, tensor, optional, sizes, sizes) tensor torch.NAME({0}, {1}, {2}, {3}, {4})
    conv1d conv2d conv3d(tensor, tensor, optional, sizes, sizes, sizes) tensor torch.NAME({0}, {1}, {2}, {3}, {4}, {5})
    conv1d conv2d conv3d(tensor,tensor,optional,sizes,sizes,sizes,long) tensor torch.NAME({0},{1},{2},{3},{4},{5},{6})
    cat stack(tensors) tensor torch.NAME({0})
    cat stack(tensors, long) tensor torch.NAME({0}, {1})
""")
"""Of ``torch::`` and ``at::``."""
CUDA = _table("""
    getCurrentCUDAStream() stream None
    getDefaultCUDAStream() stream None
    cudaGetLastError cudaPeekAtLastError() error 0
    cudaDeviceSynchronize() error _k.synchronize()
    cudaStreamSynchronize(stream) error _k.synchronize()
    cudaGetErrorString cudaGetErrorName(error) text "no error"
    C10_CUDA_KERNEL_LAUNCH_CHECK() void None
    C10_CUDA_CHECK AT_CUDA_CHECK(error) void {0}
    getCurrentDeviceProperties() properties _k.properties()
    device_synchronize() void _k.synchronize()
""")
"""Launches report their own errors; kernels run on torch's current stream, whatever stream they are given here."""
MEMBERS = {
    "list": _table("""
        size() size len({0})
        vec() sizes list({0})
        back() long {0}[-1]
        front() long {0}[0]
        empty() bool _k.false(len({0}))
        begin() iterator 0
        end() iterator len({0})
        erase(iterator) void {0}.pop({1})
        insert(iterator, long) void {0}.insert({1}, {2})
        pop_back() void {0}.pop()
        push_back emplace_back(long) void {0}.append({1})
    """),
    "options": _table("""
        dtype(dtype) options {0}.with_dtype({1})
        device(device) options {0}.with_device({1})
        device(device, long) options {0}.with_device({1}, {2})
        requires_grad(bool) options {0}.without_grad({1})
        layout(kind) options {0}
        dtype() dtype {0}.dtype
        device() device {0}.device
    """),
    "device": _table("""
        is_cuda() bool ({0}.type == "cuda")
        is_cpu() bool ({0}.type == "cpu")
        index() long _k.index({0})
        type() device torch.device({0}.type)
    """),
    "dtype": _table("""
        toScalarType() dtype {0}
        itemsize() size {0}.itemsize
    """),
    "tensortype": _table("""
        is_cuda() bool {0}.is_cuda
        scalarType() dtype {0}.dtype
    """),
    "optional": _table("""
        has_value() bool ({0} is not None)
        value() tensor _k.value({0})
    """),
    "stream": _table("stream() stream {0}"),
    "text": _table("c_str() text {0}"),
}
"""Of what is no tensor. (``x.type()`` is the tensor itself, to be asked for its dtype or where it lies.)"""
CONSTANTS = {
    "kFloat32 kFloat Float": ("dtype", "torch.float32"),
    "kFloat64 kDouble Double": ("dtype", "torch.float64"),
    "kFloat16 kHalf Half": ("dtype", "torch.float16"),
    "kBFloat16 BFloat16": ("dtype", "torch.bfloat16"),
    "kInt32 kInt Int": ("dtype", "torch.int32"),
    "kInt64 kLong Long": ("dtype", "torch.int64"),
    "kInt16 kShort Short": ("dtype", "torch.int16"),
    "kInt8 kChar Char": ("dtype", "torch.int8"),
    "kUInt8 kByte Byte": ("dtype", "torch.uint8"),
    "kBool Bool": ("dtype", "torch.bool"),
    "kCUDA CUDA": ("device", 'torch.device("cuda")'),
    "kCPU CPU": ("device", 'torch.device("cpu")'),
    "Contiguous": ("layout", "torch.contiguous_format"),
    "ChannelsLast": ("layout", "torch.channels_last"),
    "ChannelsLast3d": ("layout", "torch.channels_last_3d"),
    "kStrided": ("kind", "None"),
    "nullopt": ("null", "None"),
    "cudaSuccess": ("error", "0"),
}
NAMED = {name: value for names, value in CONSTANTS.items() for name in names.split()}
NUMBERS = {
    "INFINITY": ("float32", "math.inf"),
    "FLT_MAX": ("float32", "3.4028234663852886e+38"),
    "FLT_EPSILON": ("float32", "1.1920928955078125e-07"),
    "DBL_MAX": ("float64", "1.7976931348623157e+308"),
    "INT_MAX": ("int32", "2147483647"),
    "INT_MIN": ("int32", "-2147483648"),
    "M_PI": ("float64", "math.pi"),
    "CUDART_PI_F": ("float32", "3.1415927410125732"),
}
MATHS = frozenset(
    [
        "sqrt",
        "exp",
        "exp2",
        "log",
        "log2",
        "log10",
        "pow",
        "ceil",
        "floor",
        "round",
        "trunc",
        "fabs",
        "sin",
        "cos",
        "tanh",
        "erf",
        "cbrt",
        "rsqrt",
        "fmin",
        "fmax",
    ]
)
"""Functions of ``<cmath>``; with an ``f`` at their end they take and give ``float``."""
DISPATCHED = {
    "FLOATING_TYPES": ("float64", "float32"),
    "REDUCED_FLOATING_TYPES": ("float16", "bfloat16"),
    "INTEGRAL_TYPES": ("uint8", "int8", "int16", "int32", "int64"),
    "INDEX_TYPES": ("int32", "int64"),
    "ALL_TYPES": ("uint8", "int8", "int16", "int32", "int64", "float64", "float32"),
}
"""``AT_DISPATCH_…`` without its ``_AND…`` -> the types that it tries."""
SIZES = {
    "float2": 8,
    "float3": 12,
    "float4": 16,
    "int2": 8,
    "int4": 16,
    "uint2": 8,
    "uint4": 16,
    "double2": 16,
    "half": 2,
    "__half": 2,
    "half2": 4,
    "__half2": 4,
    "__nv_bfloat16": 2,
    "__nv_bfloat162": 4,
}
"""CUDA's own types -> bytes."""
