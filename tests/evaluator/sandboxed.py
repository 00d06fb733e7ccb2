"""Run a piece of Python in a runner's sandbox, without torch or a judge: ``python sandboxed.py PLAN SCRATCH CODE``.

Exit code 0: the code ended, 3: it raised OSError (a denial). Other ends are as they come. On stdout: the layers as JSON.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import traceback
from typing import NoReturn

from kernelwright.evaluator.runner import linux, namespaces
from kernelwright.evaluator.runner.sandbox import Plan, Sandbox


def main(plan: str, scratch: str, code: str) -> NoReturn:
    os.setsid()
    sandbox = Sandbox(Plan.of(json.loads(plan)), scratch)
    sandbox.enter()
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)

    def run() -> NoReturn:
        os.setsid()
        os.chdir(sandbox.work)
        os.environ["TMPDIR"] = sandbox.work
        import socket
        import subprocess
        import time

        known = {"os": os, "socket": socket, "subprocess": subprocess, "time": time, "ctypes": ctypes}
        end = 70
        try:
            os.write(1, json.dumps(sandbox.confine()).encode() + b"\n")
            exec(code, known | {"libc": ctypes.CDLL(None, use_errno=True)})
            end = 0
        except OSError:
            end = 3
        except BaseException:  # noqa: BLE001 - process boundary
            traceback.print_exc()
        finally:
            os._exit(end)

    namespaces.keep(sandbox.namespaces, [], sandbox.mount, run)


if __name__ == "__main__":
    main(*sys.argv[1:])
