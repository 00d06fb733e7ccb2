"""``python nvrtc_job.py LIBRARY HEADERS``: compile ``kernel.cu`` of this folder by NVRTC into ``kernel.cubin``.

A program of its own, run under the compiler's limits; standard library only, and nothing of this package is imported.
``job.json`` holds the options, the folders of CUDA's headers and the texts of headers that NVRTC lacks. Where no folder is
given and the library carries CUDA's headers, they are unpacked into HEADERS. What NVRTC says goes to stderr.
"""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path
from typing import Any

_Text = ctypes.c_char_p


def main(library: str, headers: str) -> int:
    nvrtc = ctypes.CDLL(library)
    job = json.loads(Path("job.json").read_text())
    options = [*job["options"], *(f"-I{folder}" for folder in job["include"])]
    if not job["include"] and hasattr(nvrtc, "nvrtcInstallBundledHeaders"):
        options.append(f"--use-bundled-headers={headers}")
    program = ctypes.c_void_p()
    known = {name.encode(): text.encode() for name, text in job["headers"].items()}
    texts, names = (_Text * len(known))(*known.values()), (_Text * len(known))(*known)
    source = Path("kernel.cu").read_bytes()
    code = nvrtc.nvrtcCreateProgram(ctypes.byref(program), source, b"kernel.cu", len(known), texts, names)
    if code == 0:
        given = (_Text * len(options))(*(option.encode() for option in options))
        code = nvrtc.nvrtcCompileProgram(program, len(options), given)
        sys.stderr.write(_bytes(nvrtc, program, "ProgramLog").decode(errors="replace"))
    if code:
        nvrtc.nvrtcGetErrorString.restype = _Text
        sys.stderr.write(f"\nNVRTC: error {code}: {nvrtc.nvrtcGetErrorString(code).decode()}\n")
        return 1
    major, minor = ctypes.c_int(), ctypes.c_int()
    nvrtc.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    Path("version.txt").write_text(f"NVRTC {major.value}.{minor.value}")
    Path("kernel.cubin").write_bytes(_bytes(nvrtc, program, "CUBIN"))
    return 0


def _bytes(nvrtc: Any, program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    if getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size)):
        return b""
    room = ctypes.create_string_buffer(max(size.value, 1))
    getattr(nvrtc, f"nvrtcGet{what}")(program, room)
    return room.raw[: size.value].rstrip(b"\0") if what == "ProgramLog" else room.raw[: size.value]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
