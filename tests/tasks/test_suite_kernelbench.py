"""KernelBench's form: what loads, what is left out and why, and smaller shapes."""

from __future__ import annotations

from pathlib import Path

import pytest

from kernelwright.tasks.errors import InputError, TaskError, UnknownName
from kernelwright.tasks.records import Use
from kernelwright.tasks.shapes import integers, shrunk
from kernelwright.tasks.suites import SUITES
from kernelwright.tasks.suites.kernelbench import KernelBench
from kernelwright.tasks.suites.suite import Loaded, Selection, load_tasks, open_suite

LINEAR = """
import torch

class Model(torch.nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = torch.nn.Linear(features, features)

    def forward(self, x):
        return self.linear(x)

batch_size = 1024
features = 512

def get_inputs():
    return [torch.rand(batch_size, features)]

def get_init_inputs():
    return [features]
"""
HUB = LINEAR.replace("import torch\n", "import torch\nfrom transformers import AutoConfig\n", 1)
PACKAGE = LINEAR.replace("import torch\n", "import torch\nimport no_such_package_here\n", 1)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    root = tmp_path / "clone"
    for name, text in {
        "level1/1_Linear": LINEAR,
        "level1/2_Package": PACKAGE,
        "level1/3_Broken": "class Model(",
        "level1/4_NoInputs": "class Model: pass\n",
        "level1/10_Linear_Again": LINEAR,
        "level2/1_Linear": LINEAR,
        "level4/1_hub": HUB,
    }.items():
        file = root / "KernelBench" / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


def names(loaded: Loaded) -> list[str]:
    return [task.name.removeprefix("kernelbench/") for task in loaded.tasks]


def test_entries_come_by_level_and_number(clone: Path) -> None:
    loaded = KernelBench().load(clone, Selection())
    assert names(loaded) == ["level1/1_Linear", "level1/10_Linear_Again", "level2/1_Linear"]
    assert {case.use for case in loaded.tasks[0].cases} == set(Use)
    assert loaded.tasks[0].source == LINEAR


def test_the_levels_folder_itself_may_be_given(clone: Path) -> None:
    assert names(KernelBench().load(clone / "KernelBench", Selection(levels=("2",)))) == ["level2/1_Linear"]


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("level1/2_Package", "it needs no_such_package_here"),
        ("level1/3_Broken", "does not parse: line 1"),
        ("level1/4_NoInputs", "does not define get_inputs or get_init_inputs"),
        ("level4/1_hub", "from a hub"),
    ],
)
def test_one_that_makes_no_task_is_left_out_with_the_reason(clone: Path, entry: str, why: str) -> None:
    assert why in KernelBench().load(clone, Selection()).left_out[f"kernelbench/{entry}"]


@pytest.mark.parametrize(
    ("select", "expected"),
    [
        (Selection(levels=("level2",)), ["level2/1_Linear"]),
        (Selection(levels=("1",), names=("10",)), ["level1/10_Linear_Again"]),
        (Selection(names=("1_Linear",)), ["level1/1_Linear", "level2/1_Linear"]),
        (Selection(names=("kernelbench/level2/1_Linear",)), ["level2/1_Linear"]),
    ],
)
def test_selection_by_level_name_and_number(clone: Path, select: Selection, expected: list[str]) -> None:
    assert names(KernelBench().load(clone, select)) == expected


def test_a_scale_shrinks_the_batch_first_and_what_follows_from_it(clone: Path) -> None:
    def sizes(scale: float) -> dict[str, int]:
        task = KernelBench().load(clone, Selection(levels=("2",), scale=scale)).tasks[0]
        return {name: value for name, value in integers(task.source).items() if name in ("batch_size", "features")}

    tenth = sizes(0.1)
    assert tenth["features"] == 512
    assert tenth["batch_size"] <= 102
    least = sizes(1e-6)
    assert least["batch_size"] == 4
    assert least["features"] < 64


def test_equal_sizes_stay_equal_when_shrunk() -> None:
    source = "import torch\nn = 4096\nm = 4096\ndef get_inputs():\n    return [torch.rand(n, m), torch.rand(n)]\n"
    sizes = shrunk(source, 0.01)
    assert sizes["n"] == sizes["m"] < 4096


def test_a_rigid_entry_keeps_all_but_its_batch(clone: Path) -> None:
    file = clone / "KernelBench" / "level2" / "34_ConvTranspose3d_LayerNorm_GELU_Scaling.py"
    file.write_text(LINEAR)
    task = KernelBench().load(clone, Selection(names=("34",), scale=1e-6)).tasks[0]
    assert integers(task.source) == {"batch_size": 4, "features": 512}


def test_a_wrong_path_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="there is no folder"):
        KernelBench().load(tmp_path / "nowhere", Selection())
    with pytest.raises(TaskError, match=r"holds no KernelBench/level"):
        KernelBench().load(tmp_path, Selection())
    (tmp_path / "level1").mkdir()
    with pytest.raises(TaskError, match="hold no <id>_<name>.py"):
        KernelBench().load(tmp_path, Selection())


def test_every_registered_suite_opens_and_says_what_it_is() -> None:
    for name in SUITES:
        suite = open_suite(name)
        assert suite.name == name
        assert suite.summary


def test_a_users_adapter_loads_by_import_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_suite.py").write_text(
        "from kernelwright.tasks.suites.kernelbench import KernelBench\n"
        "class Own(KernelBench):\n    name = 'own'\n\nclass Other:\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert open_suite("own_suite:Own").name == "own"
    with pytest.raises(UnknownName, match=r"has no load\(root, select\)"):
        open_suite("own_suite:Other")


def test_paths_of_tasks_do_not_say_where_the_clone_lies(clone: Path) -> None:
    loaded = load_tasks("kernelbench", clone, Selection(levels=("2",)))
    assert [task.path for task in loaded.tasks] == ["KernelBench/level2/1_Linear.py"]


def test_suites_of_the_library_need_no_path() -> None:
    assert len(load_tasks("quickstart", None, Selection()).tasks) == 5
    assert [t.name for t in load_tasks("core", None, Selection(names=("rms_norm",))).tasks] == ["core/normalization/rms_norm"]
    assert {t.category for t in load_tasks("core", None, Selection(levels=("loss",))).tasks} == {"loss"}


def test_impossible_requests_are_refused(clone: Path) -> None:
    with pytest.raises(InputError, match="own clone"):
        load_tasks("kernelbench", None, Selection())
    with pytest.raises(InputError, match="scale is 2"):
        load_tasks("kernelbench", clone, Selection(scale=2))
    with pytest.raises(InputError, match="no tasks called 99"):
        load_tasks("kernelbench", clone, Selection(names=("99",)))
