"""Memory that two processes share: a memfd on the CPU, a CUDA IPC allocation on a GPU.

An arena only ever holds what the candidate may see (inputs, parameters) or wrote (outputs). Expected values live in
ordinary allocations of the reference's process: an IPC handle exposes its whole segment, so each arena is an
allocation of its own. Tensors in it are described by JSON specs.
"""

from __future__ import annotations

import ctypes
import math
import mmap
import os
from collections.abc import Sequence
from typing import Any

import torch

ALIGN = 512
"""Bytes; every tensor starts at a multiple of it, as torch's own allocators do on the GPU."""

_IPC_HANDLE_BYTES = 64
_LAZY_PEER_ACCESS = 1
_OUT_OF_MEMORY, _ALREADY_MAPPED = 2, 208


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


class AlreadyMapped(RuntimeError):
    """This process still maps an earlier allocation at the same address."""


class Arena:
    """A shared allocation. Make it with :meth:`create` on the trusted side, :meth:`attach` on the other."""

    held = 0
    """Bytes of a GPU that this process has in arenas of its making."""

    def __init__(self, device: str, nbytes: int, address: int, backing: Any, handle: str) -> None:
        self.device = device
        self.nbytes = nbytes
        self._address = address
        self._backing = backing
        self.handle = handle
        self.handle_of = ""
        """Attached on a GPU: the handle that was opened."""

    @classmethod
    def create(cls, device: str, nbytes: int) -> tuple[Arena, list[int]]:
        """A new arena and the descriptors to send along with :meth:`describe`."""
        if device == "cpu":
            fd = os.memfd_create("arena", os.MFD_CLOEXEC)
            os.ftruncate(fd, nbytes)
            return cls(device, nbytes, 0, mmap.mmap(fd, nbytes), ""), [fd]
        driver = _driver()
        address = ctypes.c_uint64()
        code = driver.cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t(nbytes))
        if code == _OUT_OF_MEMORY:  # what torch keeps for later is in the way
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
            code = driver.cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t(nbytes))
        if code == _OUT_OF_MEMORY:
            free, whole = (n >> 20 for n in torch.cuda.mem_get_info())
            raise torch.OutOfMemoryError(f"{nbytes >> 20} MiB for tensors that both sides see; {free} of {whole} MiB are free")
        _check(code, "cuMemAlloc")
        handle = ctypes.create_string_buffer(_IPC_HANDLE_BYTES)
        _check(driver.cuIpcGetMemHandle(handle, address), "cuIpcGetMemHandle")
        Arena.held += nbytes
        return cls(device, nbytes, address.value, None, handle.raw.hex()), []

    @classmethod
    def attach(cls, description: dict[str, Any], fds: Sequence[int]) -> Arena:
        """The arena that another process made."""
        device, nbytes = description["device"], int(description["nbytes"])
        if device == "cpu":
            mapped = mmap.mmap(fds[0], nbytes)
            os.close(fds[0])
            return cls(device, nbytes, 0, mapped, "")
        torch.cuda.current_stream()
        torch.empty(1, device=device)  # makes the primary context current for the driver call
        raw = bytes.fromhex(description["handle"])

        class Handle(ctypes.Structure):
            _fields_ = [("reserved", ctypes.c_char * _IPC_HANDLE_BYTES)]

        handle = Handle()
        ctypes.memmove(ctypes.byref(handle), raw, _IPC_HANDLE_BYTES)
        address = ctypes.c_uint64()
        code = _driver().cuIpcOpenMemHandle_v2(ctypes.byref(address), handle, ctypes.c_uint(_LAZY_PEER_ACCESS))
        if code == _ALREADY_MAPPED:
            raise AlreadyMapped(f"cuIpcOpenMemHandle failed with CUDA driver error {code}")
        _check(code, "cuIpcOpenMemHandle")
        found = cls(device, nbytes, address.value, None, "")
        found.handle_of = description["handle"]
        return found

    def describe(self) -> dict[str, Any]:
        return {"device": self.device, "nbytes": self.nbytes, "handle": self.handle}

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
        flat = torch.as_tensor(_Pointer(self._address + offset, count * dtype.itemsize), device=self.device)
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
        """Free the allocation (trusted side, GPU); the CPU's mapping goes with its last tensor."""
        if self.device != "cpu" and self.handle:
            torch.cuda.synchronize()
            _check(_driver().cuMemFree_v2(ctypes.c_uint64(self._address)), "cuMemFree")
            self.handle = ""
            Arena.held -= self.nbytes

    def detach(self) -> None:
        """Unmap the allocation of another process (GPU)."""
        if self.handle_of:
            torch.cuda.synchronize()
            _check(_driver().cuIpcCloseMemHandle(ctypes.c_uint64(self._address)), "cuIpcCloseMemHandle")
            self.handle_of = ""


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


def _driver() -> ctypes.CDLL:
    torch.cuda.init()
    torch.cuda.current_device()
    return ctypes.CDLL("libcuda.so.1")


def _check(code: int, call: str) -> None:
    if code:
        raise RuntimeError(f"{call} failed with CUDA driver error {code}")
