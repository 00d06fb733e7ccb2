"""A folder that is laid out as CANN is, with a `bisheng` that says what the vendor's compiler is documented to say.

It knows no Ascend C: what it takes and refuses stands in files beside it, and in the text that it is given. A library it makes
by g++, of a source whose kernels are plain C++ but for the launch in angle brackets; the blocks run one after another.
"""

from __future__ import annotations

import sys
from pathlib import Path

_PROGRAM = r"""#!{python}
import os, sys
from pathlib import Path
here = Path(__file__).resolve().parent
arguments = sys.argv[1:]
if arguments == ["--version"]:
    print("clang version 15.0.5 (clang-5c68a1cb1231 flang-5c68a1cb1231)\nTarget: x86_64-unknown-linux-gnu")
    sys.exit(0)
with (here / "calls").open("a") as calls:
    calls.write(" ".join(arguments) + "\n")
(here / "environment").write_text("\n".join(f"{{k}}={{v}}" for k, v in sorted(os.environ.items())))
def end(text, code=1):
    sys.stderr.write(text + "\n")
    sys.exit(code)
forms = (here / "forms").read_text().split()
form = "asc" if "asc" in arguments else "soc" if any("soc-version" in a for a in arguments) else "cce"
if form not in forms and (form, *forms) != ("asc", "asc-headers"):
    option = next(a for a in arguments if a.startswith(("--npu-arch", "--cce-soc-version", "--cce-aicore-arch")))
    end(f"bisheng: error: unsupported option '{{option}}'")
headers = [Path(a[2:]) for a in arguments if a.startswith("-I")]
if (form != "asc" or "asc-headers" in forms) and not any((folder / "kernel_operator.h").exists() for folder in headers):
    end("kernel.cpp:1:10: fatal error: 'kernel_operator.h' file not found\n#include \"kernel_operator.h\"\n1 error generated.")
source = Path("kernel.cpp").read_text()
plain = "void plain(" in source
said = here / ("says_of_plain" if plain else "says")
if said.exists():
    code, _, text = said.read_text().partition("\n")
    if code == "hang":
        import time
        time.sleep(60)
    end(text, int(code))
if "-shared" in arguments:
    import re, subprocess
    host = re.sub(r"(\w+)<<<(\w+), nullptr, (\w+)>>>\(([^)]*)\)", r"each(\2, \3, [&] {{ \1(\4); }})", source)
    Path("host.cpp").write_text((here / "host.h").read_text() + host.replace('#include "kernel_operator.h"', ""))
    made = subprocess.run(["g++", "-shared", "-fPIC", "-std=c++17", "host.cpp", "-o", arguments[arguments.index("-o") + 1]])
    sys.exit(made.returncode)
sys.stderr.write("kernel.cpp:2:3: warning: unused variable 'a' [-Wunused-variable]\n")
Path(arguments[arguments.index("-o") + 1]).write_bytes(b"\x7fELF" + source.encode())
"""

_HOST = """
#include <cstdint>
#define GM_ADDR uint8_t*
#define __gm__
#define __aicore__
#define __global__
static uint32_t block;
static void* stream_given;
namespace AscendC { static uint32_t GetBlockIdx() { return block; } }
template <class F> void each(uint32_t blocks, void* stream, F kernel) {
  stream_given = stream;
  for (block = 0; block < blocks; ++block) kernel();
}
#line 1
"""


class StandIn:
    """One toolkit. ``forms``: the command lines that its compiler understands."""

    def __init__(self, home: Path, forms: str = "asc", program: str = "bisheng", below: str = "bin") -> None:
        self.home = home
        self.folder = home / below
        self.folder.mkdir(parents=True)
        path = self.folder / program
        path.write_text(_PROGRAM.format(python=sys.executable))
        path.chmod(0o755)
        (self.folder / "forms").write_text(forms)
        (self.folder / "host.h").write_text(_HOST)
        info = home / "x86_64-linux" / "ascend_toolkit_install.info"
        info.parent.mkdir(exist_ok=True)
        info.write_text("package_name=Ascend-cann-toolkit\nversion=8.5.0\narch=x86_64\n")
        headers = home / "compiler" / "tikcpp" / "tikcfw"
        headers.mkdir(parents=True)
        (headers / "kernel_operator.h").write_text("")

    def says(self, text: str, code: int | str = 1, *, of_plain: bool = False) -> None:
        """From now on this is what becomes of every kernel, or of the plain one."""
        (self.folder / ("says_of_plain" if of_plain else "says")).write_text(f"{code}\n{text}")

    def calls(self) -> list[str]:
        """Its command lines so far, those that ask its version apart."""
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def environment(self) -> dict[str, str]:
        """Of the last call."""
        lines = (self.folder / "environment").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)
