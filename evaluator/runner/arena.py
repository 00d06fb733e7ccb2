"""Memory that two processes share by a descriptor: a memfd on the CPU, an allocation of the driver's on a GPU.

An arena only ever holds what the candidate may see (inputs, parameters) or wrote (outputs); each is an allocation of its own.
Expected values live in ordinary memory of the reference's process. Tensors in an arena are described by JSON specs.
"""

from __future__ import annotations

import math
import mmap
import os
import secrets
from collections.abc import Sequence
from typing import Any

import torch

from kernelwright.evaluator.runner import vmm

ALIGN = 512
"""Bytes; every tensor starts at a multiple of it, as torch's own allocators do on the GPU."""


def dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def dtype_of(name: str) -> torch.dtype:
    dtype = getattr(torch, name)
    if not isinstance(dtype, torch.dtype):
        raise TypeError(f"{name!r} is no dtype")
    return dtype


def padded(nbytes: int) -> int:
    return -(-max(nbytes, 1) // ALIGN) * ALIGN


def layout(tensors: Sequence[torch.Tensor], copies: int = 1, guard: int = 0) -> tuple[list[dict[str, Any]], int]:
    """Specs for contiguous copies of ``tensors`` (``copies`` slots of each, ``stride`` bytes apart), and total bytes.

    ``guard``: bytes left free before the first tensor and after each.
    """
    specs = []
    offset = guard
    for t in tensors:
        stride = padded(t.numel() * t.element_size())
        specs.append({"offset": offset, "stride": stride, "shape": list(t.shape), "dtype": dtype_name(t.dtype)})
        offset += stride * copies + guard
    return specs, max(offset, ALIGN)


def guards(specs: Sequence[dict[str, Any]], nbytes: int) -> list[tuple[int, int]]:
    """The byte ranges of an arena that belong to no tensor: guard bands, and the padding at each tensor's end."""
    bands = []
    at = 0
    for spec in specs:
        bands.append((at, int(spec["offset"])))
        at = int(spec["offset"]) + math.prod(spec["shape"]) * dtype_of(spec["dtype"]).itemsize
    bands.append((at, nbytes))
    return [(low, high) for low, high in bands if high > low]


class Arena:
    """A shared allocation. Make it with :meth:`create` on the trusted side, :meth:`attach` on the other."""

    held = 0
    """Bytes of a GPU that this process has in arenas of its making."""

    def __init__(self, device: str, nbytes: int, backing: Any, name: str, fd: int | None = None) -> None:
        self.device = device
        self.nbytes = nbytes
        self._backing = backing
        """The mapping: an ``mmap``, or (address, bytes) on a GPU; None once it is closed."""
        self.name = name
        """What tells this allocation from others, on both sides."""
        self._fd = fd

    @classmethod
    def create(cls, device: str, nbytes: int) -> tuple[Arena, list[int]]:
        """A new arena and the descriptors to send along with :meth:`describe`."""
        name = secrets.token_hex(8)
        if device == "cpu":
            fd = os.memfd_create("arena", os.MFD_CLOEXEC)
            os.ftruncate(fd, nbytes)
            return cls(device, nbytes, mmap.mmap(fd, nbytes), name, fd), [fd]
        ordinal = _current(device)
        try:
            address, size, fd = vmm.allocate(nbytes, ordinal)
        except vmm.DriverError as error:
            if error.code != vmm.OUT_OF_MEMORY:
                raise
            torch.cuda.synchronize()  # what torch keeps for later is in the way
            torch.cuda.empty_cache()
            try:
                address, size, fd = vmm.allocate(nbytes, ordinal)
            except vmm.DriverError as again:
                if again.code != vmm.OUT_OF_MEMORY:
                    raise
                free, whole = (n >> 20 for n in torch.cuda.mem_get_info())
                raise torch.OutOfMemoryError(
                    f"{nbytes >> 20} MiB for tensors that both sides see; {free} of {whole} MiB are free"
                ) from None
        Arena.held += nbytes
        return cls(device, nbytes, (address, size), name, fd), [fd]

    @classmethod
    def attach(cls, description: dict[str, Any], fds: Sequence[int]) -> Arena:
        """The arena that another process made; its descriptor is closed."""
        device, nbytes = description["device"], int(description["nbytes"])
        try:
            if device == "cpu":
                return cls(device, nbytes, mmap.mmap(fds[0], nbytes), description["name"])
            size = int(description["mapped"])
            return cls(device, nbytes, (vmm.attach(fds[0], size, _current(device)), size), description["name"])
        finally:
            os.close(fds[0])

    def describe(self) -> dict[str, Any]:
        mapped = self.nbytes if self.device == "cpu" else self._backing[1]
        return {"device": self.device, "nbytes": self.nbytes, "mapped": mapped, "name": self.name}

    def tensor(self, spec: dict[str, Any], slot: int = 0) -> torch.Tensor:
        """A contiguous tensor over slot ``slot`` of ``spec``; its storage covers just that tensor."""
        shape = [int(n) for n in spec["shape"]]
        dtype = dtype_of(spec["dtype"])
        offset = int(spec["offset"]) + slot * int(spec["stride"])
        count = math.prod(shape)
        if count == 0:
            return torch.empty(shape, dtype=dtype, device=self.device)
        if offset < 0 or offset + count * dtype.itemsize > self.nbytes:
            raise ValueError(f"a tensor at {offset} of {count} x {dtype} lies outside the arena of {self.nbytes} bytes")
        if self.device == "cpu":
            return torch.frombuffer(self._backing, dtype=dtype, count=count, offset=offset).view(shape)
        flat = torch.as_tensor(_Pointer(self._backing[0] + offset, count * dtype.itemsize), device=self.device)
        return flat.view(dtype).view(shape)

    def raw(self, low: int, high: int) -> torch.Tensor:
        """Bytes ``low … high`` as a uint8 tensor."""
        return self.tensor({"shape": [high - low], "dtype": "uint8", "offset": low, "stride": 0})

    def slots(self, spec: dict[str, Any], copies: int) -> torch.Tensor:
        """All slots of ``spec`` as one ``(copies, numel)`` tensor, for bulk refreshing."""
        shape = [int(n) for n in spec["shape"]]
        dtype = dtype_of(spec["dtype"])
        count = math.prod(shape)
        row = int(spec["stride"]) // dtype.itemsize
        whole = dict(spec, shape=[copies * row])
        return self.tensor(whole).view(copies, row)[:, :count]

    def close(self) -> None:
        """Let go of it, on the side that made it too: on a GPU at once, on the CPU when the last tensor is gone."""
        if self._backing is None:
            return
        if self.device != "cpu":
            torch.cuda.synchronize()
            vmm.unmap(*self._backing)
        self._backing = None
        if self._fd is not None:
            os.close(self._fd)
            if self.device != "cpu":
                Arena.held -= self.nbytes


class _Pointer:
    """Device memory for ``torch.as_tensor`` by the CUDA array interface, as bytes."""

    def __init__(self, address: int, nbytes: int) -> None:
        self.__cuda_array_interface__ = {
            "data": (address, False),
            "shape": (nbytes,),
            "typestr": "|u1",
            "strides": None,
            "version": 3,
        }


def _current(device: str) -> int:
    """The GPU's number, its primary context current for the driver's calls."""
    torch.empty(1, device=device)
    return torch.device(device).index or 0
