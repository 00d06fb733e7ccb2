"""Tensor maps (``CUtensorMap``): what the TMA needs to know of a tensor, encoded by NVIDIA's driver.

Imports torch and the standard library. A map is made of a tensor that lies on the GPU, of nothing else, and holds it.
"""

from __future__ import annotations

import ctypes
import functools
import operator
from collections.abc import Callable, Iterator, Sequence
from itertools import chain

import torch

_KINDS = (
    (("uint8", "int8", "bool", "float8_e4m3fn", "float8_e5m2"), 0),
    (("uint16",), 1),
    (("uint32",), 2),
    (("int32",), 3),
    (("uint64",), 4),
    (("int64",), 5),
    (("float16",), 6),
    (("float32",), 7),
    (("float64",), 8),
    (("bfloat16",), 9),
)
"""Names of dtypes and the number that the driver has for them (``CUtensorMapDataType``)."""
_DTYPES = {getattr(torch, name): number for names, number in _KINDS for name in names if hasattr(torch, name)}
_SWIZZLE = {0: 0, 32: 1, 64: 2, 128: 3}
_PROMOTION = {0: 0, 64: 1, 128: 2, 256: 3}
_FILL = {"zeros": 0, "nan": 1}
_MOST_DIMENSIONS, _MOST_BOX, _ALIGNED = 5, 256, 16
_MOST_SIZE, _MOST_STRIDE = 1 << 32, 1 << 40

Encode = Callable[..., None]


class Encoded(ctypes.Structure):
    """The 128 bytes of a ``CUtensorMap``."""

    _fields_ = (("words", ctypes.c_uint64 * 16),)


class TensorMap:
    """What ``lib.tensor_map(…)`` gives: an argument for a parameter ``const __grid_constant__ CUtensorMap name``."""

    __slots__ = ("_tensor", "encoded")

    def __init__(self, tensor: torch.Tensor, encoded: Encoded) -> None:
        self._tensor = tensor
        self.encoded = encoded

    def __repr__(self) -> str:
        return f"<tensor map of {tuple(self._tensor.shape)} {self._tensor.dtype}>"


def tensor_map(
    encode: Encode, tensor: torch.Tensor, box: Sequence[int], swizzle: int = 0, l2_promotion: int = 0, fill: str = "zeros"
) -> TensorMap:
    """A map of ``tensor`` whose copies move ``box`` elements, in the order of the tensor's shape, outermost first.

    ``encode``: fills an :class:`Encoded` by what the driver's function takes after it. ``swizzle``: 0, 32, 64 or 128 bytes.
    ``l2_promotion``: 0, 64, 128 or 256 bytes. ``fill``: what elements beyond the tensor read as, ``zeros`` or ``nan``.

    Raises:
        TypeError: no tensor on the GPU, or of a dtype that the TMA does not know.
        ValueError: a rule of the TMA is broken; says which.
    """
    sizes = _box(tensor, box)
    item = tensor.element_size()
    for problem in chain(_options(swizzle, l2_promotion, fill), _addressing(tensor, item), _boxing(sizes, item, swizzle)):
        raise ValueError(f"tensor_map(): {problem}")
    shape, strides = tuple(reversed(tensor.shape)), tuple(_strides(tensor, item))
    options = (_SWIZZLE[swizzle], _PROMOTION[l2_promotion], _FILL[fill])
    made = _encoded(encode, _DTYPES[tensor.dtype], tensor.data_ptr(), shape, strides, tuple(reversed(sizes)), options)
    return TensorMap(tensor, made)


def _box(tensor: torch.Tensor, box: Sequence[int]) -> tuple[int, ...]:
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"tensor_map() takes a tensor, not {type(tensor).__name__}")
    if tensor.device.type != "cuda":
        raise TypeError(f"tensor_map(): the tensor must be on the GPU, not on {tensor.device}")
    if tensor.dtype not in _DTYPES:
        raise TypeError(f"tensor_map(): the TMA has no elements of {tensor.dtype}; view it as another dtype of its size")
    sizes = tuple(map(operator.index, box))
    if len(sizes) != tensor.dim():
        raise ValueError(f"tensor_map(): box {sizes} has {len(sizes)} sizes, the tensor {tensor.dim()} dimensions")
    return sizes


def _addressing(tensor: torch.Tensor, item: int) -> Iterator[str]:
    """What the tensor breaks of the TMA's rules."""
    if not 1 <= tensor.dim() <= _MOST_DIMENSIONS:
        yield f"a tensor of {tensor.dim()} dimensions; the TMA takes 1 to {_MOST_DIMENSIONS}"
    elif not all(1 <= size <= _MOST_SIZE for size in tensor.shape):
        yield f"sizes {tuple(tensor.shape)}; each must be 1 to 2**32"
    elif tensor.data_ptr() % _ALIGNED:
        yield f"the address is {tensor.data_ptr() % _ALIGNED} bytes past a multiple of {_ALIGNED}; keep a path without the TMA"
    elif tensor.stride(-1) != 1 and tensor.shape[-1] > 1:
        yield f"the last dimension has stride {tensor.stride(-1)}; it must be 1"
    else:
        yield from (
            f"dimension {at} has a stride of {tensor.stride(at) * item} bytes; it must be a multiple of {_ALIGNED}, below 2**40"
            for at, size in enumerate(tensor.shape[:-1])
            if size > 1 and (tensor.stride(at) * item % _ALIGNED or not 0 < tensor.stride(at) * item < _MOST_STRIDE)
        )


def _boxing(box: Sequence[int], item: int, swizzle: int) -> Iterator[str]:
    """What the box breaks; its length is that of the tensor's shape."""
    if not all(1 <= size <= _MOST_BOX for size in box):
        yield f"box {tuple(box)}; each size must be 1 to {_MOST_BOX}"
    elif box and box[-1] * item % _ALIGNED:
        yield f"the last size of box {tuple(box)} is {box[-1] * item} bytes; it must be a multiple of {_ALIGNED}"
    elif box and swizzle and box[-1] * item > swizzle:
        yield f"the last size of box {tuple(box)} is {box[-1] * item} bytes, more than a swizzle of {swizzle} takes"


def _options(swizzle: int, l2_promotion: int, fill: str) -> Iterator[str]:
    for name, given, known in (
        ("swizzle", swizzle, _SWIZZLE),
        ("l2_promotion", l2_promotion, _PROMOTION),
        ("fill", fill, _FILL),
    ):
        if given not in known:
            yield f"{name} is {given!r}; give {', '.join(map(str, known))}"


def _strides(tensor: torch.Tensor, item: int) -> Iterator[int]:
    """Bytes from one element to the next of each dimension but the last, innermost first; any that fits where there is one."""
    reach = tensor.shape[-1] * item
    for size, stride in zip(reversed(tensor.shape[:-1]), reversed(tensor.stride()[:-1]), strict=True):
        step = stride * item if size > 1 else -(-reach // _ALIGNED) * _ALIGNED
        yield step
        reach = max(reach, step * size)


@functools.lru_cache(maxsize=256)
def _encoded(
    encode: Encode,
    kind: int,
    address: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    box: tuple[int, ...],
    options: tuple[int, int, int],
) -> Encoded:
    """All that a map holds follows from these, so that equal ones are encoded once."""
    rank = len(shape)
    room = (ctypes.c_uint64 * 24)()
    past = -ctypes.addressof(room) % 64  # the driver writes to multiples of 64 bytes only
    ones = (ctypes.c_uint32 * rank)(*(1,) * rank)
    longs = (ctypes.c_uint64 * rank)(*shape), (ctypes.c_uint64 * max(rank - 1, 1))(*strides)
    boxes = (ctypes.c_uint32 * rank)(*box)
    encode(ctypes.addressof(room) + past, kind, rank, address, *longs, boxes, ones, 0, *options)
    return Encoded((ctypes.c_uint64 * 16)(*room[past // 8 : past // 8 + 16]))


def held(value: Encoded) -> Encoded:
    """Of a launch's arguments, maps are stored as they are converted."""
    return value
