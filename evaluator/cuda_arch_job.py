"""``python cuda_arch_job.py``: say the compute capability of the first GPU that is visible, as ``9 0``; fail where none is.

A program of its own, since a process that has asked the driver cannot be forked any more. Standard library only, and nothing
of this package is imported.
"""

from __future__ import annotations

import ctypes
import sys

_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR


def main() -> str:
    driver, device = ctypes.CDLL("libcuda.so.1"), ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), 0):
        raise SystemExit("no GPU is visible")
    found = ctypes.c_int(), ctypes.c_int()
    for value, attribute in zip(found, (_MAJOR, _MINOR), strict=True):
        if driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device):
            raise SystemExit("the driver does not say which GPU this is")
    return f"{found[0].value} {found[1].value}"


if __name__ == "__main__":
    sys.stdout.write(main())
