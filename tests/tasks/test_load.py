"""Names to tasks, and what is said when there is none."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kernelwright.tasks.errors import TaskError, UnknownName
from kernelwright.tasks.load import LIBRARY, all_tasks, load_suite, load_task, suite_budget
from kernelwright.tasks.records import Use

SAMPLES = Path(__file__).parent / "samples"


@pytest.mark.parametrize(
    "name",
    ["core/normalization/rms_norm", "normalization/rms_norm", "rms_norm", str(LIBRARY / "normalization/rms_norm")],
)
def test_a_library_task_by_any_of_its_names(name: str) -> None:
    assert load_task(name) == load_task("core/normalization/rms_norm")
    assert load_task(name).name == "core/normalization/rms_norm"


def test_a_plain_file_is_a_task_as_it_stands() -> None:
    path = str(SAMPLES / "linear_gelu.py")
    task = load_task(path)
    assert task.name == task.path == path
    assert task.source == Path(path).read_text()
    assert (task.category, task.bytes, task.flops) == ("custom", "", "")
    assert {case.use for case in task.cases} == {Use.CORRECTNESS, Use.TIMING, Use.HELD_OUT}
    assert all(case.dtypes == ("float32",) for case in task.cases)


def test_a_relative_path_keeps_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SAMPLES)
    assert load_task("matmul.py").name == "matmul.py"


def test_a_task_folder_anywhere_is_a_task(tmp_path: Path) -> None:
    folder = shutil.copytree(LIBRARY / "math/cumsum", tmp_path / "mine")
    task = load_task(str(folder))
    assert task.name == str(folder)
    assert task.cases == load_task("cumsum").cases
    (folder / "reference.py").unlink()
    with pytest.raises(TaskError, match=r"no reference\.py"):
        load_task(str(folder))


def test_an_unknown_task_names_its_near_misses() -> None:
    with pytest.raises(TaskError, match="unknown task 'normalization/rms_nrm'") as error:
        load_task("normalization/rms_nrm")
    assert "did you mean core/normalization/rms_norm" in error.value.remedy
    with pytest.raises(TaskError) as error:
        load_task("zzzzzz")
    assert "did you mean" not in error.value.remedy


def test_a_suffix_is_whole_words() -> None:
    with pytest.raises(TaskError, match="unknown task 'norm'"):
        load_task("norm")


def test_a_name_of_several_tasks_is_ambiguous(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for category in ("math", "reduce"):
        shutil.copytree(LIBRARY / "math/cumsum", tmp_path / category / "cumsum")
    monkeypatch.setattr("kernelwright.tasks.load.LIBRARY", tmp_path)
    with pytest.raises(TaskError, match="ambiguous") as error:
        load_task("cumsum")
    assert "core/math/cumsum" in error.value.remedy
    assert "core/reduce/cumsum" in error.value.remedy


def test_a_missing_file_names_its_near_misses() -> None:
    with pytest.raises(TaskError, match="there is no file") as error:
        load_task(str(SAMPLES / "matmull.py"))
    assert "matmul.py" in error.value.remedy


def test_a_folder_that_is_no_task_is_told(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="no task at"):
        load_task(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("def get_inputs():\n    return []\n", "does not define Model$"),
        ("class Model:\n    pass\n", "does not define get_inputs$"),
        ("", "does not define Model or get_inputs$"),
        ("class Model:\n    def get_inputs(self):\n        return []\n", "does not define get_inputs$"),
        ("class Model:\n    pass\n\ndef get_inputs(:\n", "line 4"),
        ("x = '\0'", "does not parse"),
    ],
)
def test_a_file_that_is_no_reference_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "kernel.py"
    path.write_text(text)
    with pytest.raises(TaskError) as error:
        load_task(str(path))
    assert error.value.message.startswith(str(path))
    assert re.search(complaint, error.value.message)
    assert error.value.remedy


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "kernel.py"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TaskError, match="not UTF-8"):
        load_task(str(path))


def test_names_may_be_imported_or_assigned(tmp_path: Path) -> None:
    path = tmp_path / "kernel.py"
    path.write_text("from mine import Thing as Model\ntry:\n    get_inputs = make\nexcept NameError:\n    pass\n")
    assert load_task(str(path)).source == path.read_text()


def test_the_library_is_as_wide_as_promised() -> None:
    tasks = all_tasks()
    assert len(tasks) >= 80
    assert len({task.category for task in tasks}) == 14
    assert {task.scenario for task in tasks} >= {"algebra", "llm", "sparse", "scientific"}
    assert [task.name for task in tasks] == sorted(task.name for task in tasks)
    assert len({task.task_id for task in tasks}) == len(tasks)


def test_suites() -> None:
    library, quickstart = all_tasks(), load_suite("quickstart")
    assert 4 <= len(quickstart) <= 6
    assert all(task in library for task in quickstart)
    assert load_suite("core") == library
    with pytest.raises(UnknownName, match="unknown suite 'slow'") as error:
        load_suite("slow")
    assert "core, quickstart" in error.value.remedy


def test_loading_needs_no_torch() -> None:
    code = "import sys; from kernelwright.tasks.load import all_tasks; all_tasks(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_suite_may_say_how_many_attempts_it_is_meant_for() -> None:
    assert suite_budget("quickstart") == 3
    assert suite_budget("core") is None
    with pytest.raises(UnknownName, match="quickstart"):
        suite_budget("nothing")
