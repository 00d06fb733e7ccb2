"""Launch Ascend C kernels on an Ascend NPU: in a runner that has opened one, or where a person runs a kernel.

Written from the vendor's documentation and **not run**. `torch_npu` and CANN are needed; in a runner the library was built
ahead, and a launch with no tensor there is refused: nothing is simulated then. The vendor's compiler makes one library of the
kernels and of a host function for each (:func:`.ascend_source.launched`). It is called with torch's current stream, as the
vendor's samples call theirs; reading `npu_stream` waits until what torch has queued on the host is on that stream (torch_npu,
`NPUStream::stream`).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from kernelwright.evaluator.ascend_source import LAUNCHER, launched
from kernelwright.evaluator.prototypes import Prototype
from kernelwright.evaluator.toolchain_cann import build_launchers

Enter = Callable[[torch.device, Callable[[int], None]], None]
"""Calls its second argument with the handle of the device's current stream, the device being the current one."""


class NpuLaunches:
    """The launches of one Ascend C source whose tensors are on an NPU; compiled at the first of them.

    Args:
        functions: prototype of each kernel, by name.
        converters: of each kernel's arguments, by name.
        storage: ctypes type of each argument, by name.
        symbol: opens a library and gives a function of it.
        cache: folder in which the library is built; or, as text, the path of what was built ahead: then nothing is simulated.
        device: the kind of device.
        enter: how a stream of it is had.
    """

    def __init__(
        self,
        source: str,
        functions: Mapping[str, Prototype],
        converters: Mapping[str, tuple[Callable[[Any], Any], ...]],
        storage: Mapping[str, tuple[Any, ...]],
        symbol: Callable[[str, str], Any],
        cache: Path | str,
        device: str = "npu",
        enter: Enter | None = None,
    ) -> None:
        self._text = launched(source, functions)
        self._converters = converters
        self._storage = storage
        self._symbol = symbol
        self._ahead = cache if isinstance(cache, str) else ""
        self._cache = Path(cache)
        self._device = device
        self._enter = enter or _on_current_stream
        self._entries: dict[str, Any] = {}

    def __call__(self, name: str, blocks: int, arguments: tuple[Any, ...]) -> bool:
        """Launch, where any tensor is on the device; False where none is.

        Raises:
            TypeError: an argument of another type, on another device, or on two of them.
            BuildError: the vendor's compiler makes no library of the source.
        """
        places = {a.device for a in arguments if isinstance(a, torch.Tensor)}
        if not any(place.type == self._device for place in places):
            if self._ahead:
                raise TypeError(f"{name}: no tensor is on the NPU, where the kernel is to run")
            return False
        values = [convert(value) for convert, value in zip(self._converters[name], arguments, strict=True)]
        if len(places) > 1:
            raise TypeError(f"{name}: the tensors are on {' and '.join(sorted(map(str, places)))}; a launch takes those of one")
        entry = self._entry(name)
        self._enter(places.pop(), lambda stream: entry(blocks, stream, *values))
        return True

    def _entry(self, name: str) -> Any:
        if name not in self._entries:
            entry = self._symbol(self._ahead or build_launchers(self._text, self._cache), LAUNCHER + name)
            entry.argtypes = [ctypes.c_uint32, ctypes.c_void_p, *self._storage[name]]
            entry.restype = None
            self._entries[name] = entry
        return self._entries[name]


def _on_current_stream(device: torch.device, launch: Callable[[int], None]) -> None:
    npu: Any = torch.npu  # type: ignore[attr-defined]  # torch_npu adds it, and a tensor on an NPU means that it did
    with npu.device(device):
        launch(int(npu.current_stream().npu_stream))
