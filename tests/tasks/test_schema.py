"""A slip in task.yaml is one line that names the key, what it holds and what it may hold."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from kernelwright.tasks.errors import TaskError
from kernelwright.tasks.load import load_task
from kernelwright.tasks.records import Task, Use

REFERENCE = "rows = 8\ncols = 16\n\n\nclass Model:\n    pass\n\n\ndef get_inputs():\n    return [rows, cols]\n"
SMALL = {"name": "small", "use": "correctness", "sizes": {"rows": 2}}
GOOD: dict[str, Any] = {"category": "math", "family": "scan", "summary": "a sum", "cases": [SMALL]}


def load(folder: Path, text: str) -> Task:
    (folder / "reference.py").write_text(REFERENCE)
    (folder / "task.yaml").write_text(text)
    return load_task(str(folder))


def test_every_key_arrives(tmp_path: Path) -> None:
    extra = {
        "scenario": "scientific",
        "dtypes": ["float32", "bfloat16"],
        "bytes": "2 * rows * cols * itemsize",
        "flops": "rows * cols",
        "library": ["mm"],
        "rtol": {"float32": 1e-3},
        "deterministic": True,
        "static_parameters": True,
        "training": True,
        "cases": [SMALL, {"name": "t", "use": "timing", "device": "cuda", "dtypes": ["float32"]}],
    }
    task = load(tmp_path, yaml.safe_dump({**GOOD, **extra}))
    small, timing = task.cases
    assert (small.use, dict(small.sizes), small.dtypes, small.device) == (
        Use.CORRECTNESS,
        {"rows": 2},
        ("float32", "bfloat16"),
        None,
    )
    assert (timing.use, timing.dtypes, timing.device, timing.derived) == (Use.TIMING, ("float32",), "cuda", False)
    assert (task.scenario, task.library, task.rtol) == ("scientific", ("mm",), {"float32": 1e-3})
    assert (task.deterministic, task.static_parameters, task.training) == (True, True, True)
    assert (task.bytes, task.flops) == ("2 * rows * cols * itemsize", "rows * cols")


def test_the_optional_keys_are_optional(tmp_path: Path) -> None:
    task = load(tmp_path, yaml.safe_dump(GOOD))
    assert (task.scenario, task.bytes, task.flops, task.library, dict(task.rtol)) == ("", "", "", (), {})
    assert (task.deterministic, task.static_parameters, task.training) == (False, False, False)
    assert task.cases[0].dtypes == ("float32",)


def case(**changes: Any) -> dict[str, Any]:
    return {**GOOD, "cases": [{**SMALL, **changes}]}


@pytest.mark.parametrize(
    ("data", "message", "remedy"),
    [
        ({**GOOD, "catgory": "math"}, "unknown key 'catgory'", "allowed: category, family"),
        ({**GOOD, "category": "maths"}, "category is 'maths'", "one of activation, "),
        ({**GOOD, "scenario": "web"}, "scenario is 'web'", "one of algebra, llm, sparse, scientific"),
        ({**GOOD, "dtypes": ["fp32"]}, "dtypes is ['fp32']", "float32, float16, bfloat16"),
        ({**GOOD, "dtypes": []}, "dtypes is []", "a list of"),
        ({**GOOD, "dtypes": "float32"}, "dtypes is 'float32'", "a list of"),
        ({**GOOD, "rtol": {"int8": 1.0}}, "rtol is {'int8': 1.0}", "tolerances for float64"),
        ({**GOOD, "rtol": {"float32": -1.0}}, "rtol is", "positive numbers"),
        ({**GOOD, "deterministic": "yes please"}, "deterministic is 'yes please'", "true or false"),
        ({**GOOD, "bytes": "rows * lines"}, "bytes: unknown name 'lines'", "known: cols, itemsize, rows"),
        ({**GOOD, "flops": "rows - 8"}, "flops is 0", "positive"),
        ({**GOOD, "flops": "print(1)"}, "no arithmetic", "numbers, sizes"),
        ({**GOOD, "cases": []}, "cases is []", "at least one entry"),
        ({k: v for k, v in GOOD.items() if k != "family"}, "lacks 'family'", "expected text"),
        (case(use="test"), "case 1: use is 'test'", "one of correctness, timing, held_out"),
        (case(sizes={"lines": 3}), "no module-level integer 'lines'", "it has: rows, cols"),
        (case(sizes={"rows": 2.5}), "sizes is {'rows': 2.5}", "positive integers"),
        (case(sizes={"rows": 0}), "sizes is {'rows': 0}", "positive integers"),
        (case(device="tpu"), "device is 'tpu'", "one of cpu, cuda"),
        (case(size={"rows": 2}), "unknown key 'size'", "allowed: name, use, sizes"),
        ({**GOOD, "cases": [SMALL, SMALL]}, "two cases are called 'small'", "its own name"),
        (case(use="timing"), "no correctness case for cpu", "small one"),
        (case(device="cpu"), "no correctness case for cuda", "small one"),
        ({**GOOD, "cases": ["small"]}, "case 1 holds 'small'", "keys: name"),
        (["a"], "holds ['a']", "keys: category"),
    ],
)
def test_a_slip_is_told(tmp_path: Path, data: Any, message: str, remedy: str) -> None:
    with pytest.raises(TaskError) as error:
        load(tmp_path, yaml.safe_dump(data))
    assert str(tmp_path) in error.value.message
    assert message in error.value.message
    assert remedy in error.value.remedy


def test_broken_yaml_gives_its_line(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="line 3"):
        load(tmp_path, "category: math\nfamily: [scan\nsummary: x\n")


def test_an_empty_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="holds None"):
        load(tmp_path, "")
