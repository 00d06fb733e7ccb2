"""Tensor maps: every rule of the TMA has its one error, and what the driver is told follows from the tensor."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from forked import run_forked

from kernelwright.evaluator.native import calls, load
from kernelwright.evaluator.native_cuda import CudaLibrary
from kernelwright.evaluator.prototypes import kernel_prototypes
from kernelwright.evaluator.tensor_map import TensorMap, tensor_map
from kernelwright.evaluator.toolchain import BuildError, build_library
from kernelwright.evaluator.toolchain_cuda import missing_cuda_compiler

told: list[tuple[Any, ...]] = []


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors say that they lie on a GPU."""
    monkeypatch.setattr(torch.Tensor, "device", property(lambda self: torch.device("cuda")), raising=False)
    told.clear()


def made(tensor: torch.Tensor, box: Any, **options: Any) -> TensorMap:
    def encode(at: Any, kind: int, rank: int, address: int, *rest: Any) -> None:
        arrays = [list(part) if hasattr(part, "_length_") else part for part in rest]
        told.append((kind, rank, address, *arrays))

    return tensor_map(encode, tensor, box, **options)


@pytest.mark.usefixtures("on_gpu")
def test_the_driver_is_told_what_the_tensor_is_innermost_first() -> None:
    whole = torch.empty(3, 20, 64, dtype=torch.bfloat16)
    part = whole[:, 2:, :40]
    made(part, (1, 8, 32), swizzle=64, l2_promotion=128, fill="nan")
    assert told == [(9, 3, part.data_ptr(), [40, 18, 3], [128, 2560], [32, 8, 1], [1, 1, 1], 0, 2, 2, 1)]
    made(torch.empty(100), (64,))
    assert told[1][:2] == (7, 1)
    assert told[1][3:] == ([100], [0], [64], [1], 0, 0, 0, 0)


@pytest.mark.usefixtures("on_gpu")
def test_the_stride_of_a_dimension_of_one_is_of_no_importance() -> None:
    made(torch.empty(6, 33)[:1, :30], (1, 4))
    assert told[0][4] == [128]


@pytest.mark.usefixtures("on_gpu")
@pytest.mark.parametrize(
    ("tensor", "box", "options", "message"),
    [
        (torch.empty(()), (), {}, "0 dimensions; the TMA takes 1 to 5"),
        (torch.empty(1, 1, 1, 1, 1, 16), (1,) * 5 + (16,), {}, "6 dimensions"),
        (torch.empty(8, 16), (16,), {}, "has 1 sizes, the tensor 2 dimensions"),
        (torch.empty(0, 16), (1, 16), {}, "each must be 1 to 2"),
        (torch.empty(8, 16).view(-1)[1:113].view(7, 16), (1, 16), {}, "4 bytes past a multiple of 16"),
        (torch.empty(8, 16).t(), (16, 8), {}, "the last dimension has stride 16"),
        (torch.empty(8, 17), (1, 16), {}, "dimension 0 has a stride of 68 bytes"),
        (torch.empty(1, 16).expand(8, 16), (1, 16), {}, "dimension 0 has a stride of 0 bytes"),
        (torch.empty(8, 16), (0, 16), {}, "each size must be 1 to 256"),
        (torch.empty(512, 16), (257, 16), {}, "each size must be 1 to 256"),
        (torch.empty(8, 16), (1, 6), {}, "is 24 bytes; it must be a multiple of 16"),
        (torch.empty(8, 64), (1, 64), {"swizzle": 128}, "256 bytes, more than a swizzle of 128"),
        (torch.empty(8, 16), (1, 16), {"swizzle": 16}, "swizzle is 16; give 0, 32, 64, 128"),
        (torch.empty(8, 16), (1, 16), {"l2_promotion": 32}, "l2_promotion is 32"),
        (torch.empty(8, 16), (1, 16), {"fill": "ones"}, "fill is 'ones'; give zeros, nan"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_rule_has_its_error(tensor: torch.Tensor, box: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        made(tensor, box, **options)
    assert not told


def test_only_tensors_on_the_gpu_have_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TypeError, match="must be on the GPU, not on cpu"):
        made(torch.empty(8, 16), (1, 16))
    with pytest.raises(TypeError, match="takes a tensor, not int"):
        made(torch.empty(8).data_ptr(), (1,))  # type: ignore[arg-type]
    monkeypatch.setattr(torch.Tensor, "device", property(lambda self: torch.device("cuda")), raising=False)
    with pytest.raises(TypeError, match=re.escape("no elements of torch.complex64")):
        made(torch.empty(8, 16, dtype=torch.complex64), (1, 16))
    assert not told


def test_a_map_is_a_parameter_of_kernels_by_value() -> None:
    source = 'extern "C" __global__ void f(const __grid_constant__ CUtensorMap from, float* y) { }'
    assert str(kernel_prototypes(source)["f"]) == "void f(tensor_map from, float32* y)"
    for wrong in (source.replace("__grid_constant__ ", ""), source.replace("CUtensorMap", "CUtensorMap*")):
        with pytest.raises(BuildError, match="const __grid_constant__ CUtensorMap name"):
            kernel_prototypes(wrong)


def test_no_kernel_takes_the_name_of_what_makes_maps() -> None:
    taken = kernel_prototypes('extern "C" __global__ void tensor_map(float* y) { }')
    with pytest.raises(BuildError, match="may not be called tensor_map"):
        CudaLibrary("", taken, {}, {}, [0])


DRIVER = """
extern "C" int cuModuleLoadData(int64_t* module, const int8_t* image) { *module = 1; return 0; }
extern "C" int cuModuleGetFunction(int64_t* to, int64_t module, const int8_t* name) { *to = 2; return 0; }
extern "C" int cuFuncSetAttribute(int64_t function, int what, int value) { return 0; }
extern "C" int cuGetErrorString(int code, int64_t* text) { *text = 0; return 0; }
extern "C" int cuLaunchKernel(int64_t f, unsigned x, unsigned y, unsigned z, unsigned a, unsigned b, unsigned c, unsigned s,
                              int64_t stream, int64_t* given) {
  int64_t* map = (int64_t*)given[0];
  return !(map[0] == 7 && map[1] == *(int64_t*)given[1] && map[15] == 32);
}
"""
ENCODE = """
extern "C" int cuTensorMapEncodeTiled(int64_t* map, int kind, unsigned rank, int64_t address, const int64_t* sizes) {
  map[0] = kind, map[1] = address, map[15] = sizes[0];
  return (int64_t)map % 64 ? 1 : rank == 1 ? 999 : 0;
}
"""
IMPORTS = """
import ctypes, json, os, tempfile
from pathlib import Path
from types import SimpleNamespace
import torch
from kernelwright.evaluator import native, native_cuda
from kernelwright.evaluator.runner.audit import Audit
from kernelwright.evaluator.toolchain import source_hash
CUDA = 'extern "C" __global__ void f(const __grid_constant__ CUtensorMap map, float* x) {}'
cubin = Path(tempfile.mkdtemp()) / "f.cubin"
cubin.write_bytes(b"not loaded here")
os.environ["KERNELWRIGHT_LIBRARIES"] = json.dumps({source_hash(CUDA): str(cubin)})
torch.cuda.current_device = lambda: 0
torch.cuda.current_stream = lambda: SimpleNamespace(cuda_stream=0)
torch.Tensor.device = property(lambda self: torch.device("cuda"))
raised = ""
audit = Audit({str(cubin): frozenset()})
def report():
    return {"seen": audit.seen, "raised": raised}
"""
USE = "audit.start()\nlib = native.load(cuda=CUDA)\nx = torch.empty(4, 32)\n"
LAUNCH = USE + "lib.f[1, 32](lib.tensor_map(x, (4, 32)), x)\nassert native.calls() == 1"


@pytest.fixture(scope="module")
def drivers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders with a stand-in for the driver, with tensor maps and of before them."""
    found = {}
    for name, source in (("new", DRIVER + ENCODE), ("old", DRIVER)):
        found[name] = tmp_path_factory.mktemp(name)
        shutil.copy(build_library(source, found[name]).path, found[name] / "libcuda.so.1")
    return found


def test_a_launch_passes_the_maps_bytes_and_nobody_is_accused(drivers: dict[str, Path]) -> None:
    snippets = {
        "launch": LAUNCH,
        "again": LAUNCH + "\nassert lib.tensor_map(x, (4, 32)).encoded is lib.tensor_map(x, [4, 32]).encoded",
        "tensor": USE + "lib.f[1, 32](x, x)",
        "refused": USE + "lib.tensor_map(x[0], (32,))",
    }
    found = run_forked("", snippets, IMPORTS, {"LD_LIBRARY_PATH": str(drivers["new"])})
    assert found["launch"] == found["again"] == {"seen": {}, "raised": ""}
    assert found["tensor"]["raised"].startswith("TypeError: f(): argument 'map' takes what lib.tensor_map(tensor, box) gives")
    assert "CUDA error 999 in encoding a tensor map" in found["refused"]["raised"]


def test_a_driver_without_maps_launches_what_has_none(drivers: dict[str, Path]) -> None:
    snippets = {"map": LAUNCH, "driver": "audit.start()\nnative_cuda._driver()"}
    found = run_forked("", snippets, IMPORTS, {"LD_LIBRARY_PATH": str(drivers["old"])})
    assert "this driver has no tensor maps" in found["map"]["raised"]
    assert found["map"]["seen"] == {}
    assert found["driver"] == {"seen": {}, "raised": ""}


TILES = Path(__file__).parent.parent / "redteam" / "cuda" / "honest" / "tiles_by_tensor_map.py"


@pytest.mark.requires_cuda
@pytest.mark.skipif(bool(missing_cuda_compiler()), reason="nvcc is not installed")
@pytest.mark.parametrize("shape", [(16, 64), (1, 4), (33, 516), (1000, 1032)])
def test_the_tma_moves_tiles_on_a_gpu(shape: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Boxes that reach beyond the tensor are cut, and nothing beside it is written."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    module: dict[str, Any] = {}
    exec(TILES.read_text(), module)
    rows, cols = shape
    x = torch.randn(shape, device="cuda")
    y = torch.full((rows + 16, cols + 64), -1.0, device="cuda")
    part = y[:rows, :cols]
    before, lib, box = calls(), module["lib"], (16, 64)
    lib.exp_tiles[(-(-cols // 64), -(-rows // 16)), 128](lib.tensor_map(x, box), lib.tensor_map(part, box))
    torch.testing.assert_close(part, x.exp())
    assert (y[rows:] == -1).all()
    assert (y[:, cols:] == -1).all()
    assert calls() - before == 1
    torch.testing.assert_close(module["ModelNew"]()(x), x.exp())


@pytest.mark.requires_cuda
@pytest.mark.skipif(bool(missing_cuda_compiler()), reason="nvcc is not installed")
def test_a_swizzled_tile_with_its_fill_lies_as_the_manual_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    text = TILES.read_text().split('r"""')[1].split('"""')[0]
    lib = load(
        cuda=text.replace("int ROWS = 16, COLS = 64", "int ROWS = 8, COLS = 32").replace("alignas(128)", "alignas(1024)")
    )
    x = torch.arange(256.0, device="cuda").view(8, 32) / 256
    shown = torch.zeros(8, 32, device="cuda")
    lib.exp_tiles[1, 128](lib.tensor_map(x, (8, 32), swizzle=128), lib.tensor_map(shown, (8, 32)))
    groups = x.exp().view(8, 8, 4)  # 16 bytes each; the row's number is added to the group's without carry
    wanted = torch.stack([groups[row, [g ^ row for g in range(8)]] for row in range(8)]).view(8, 32)
    torch.testing.assert_close(shown, wanted)
    wide = torch.zeros(8, 32, device="cuda")
    lib.exp_tiles[1, 128](lib.tensor_map(x[:5, :28], (8, 32), fill="nan"), lib.tensor_map(wide, (8, 32)))
    torch.testing.assert_close(wide[:5, :28], x[:5, :28].exp())
    assert wide[5:].isnan().all()
    assert wide[:, 28:].isnan().all()
