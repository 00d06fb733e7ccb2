"""A suite's cases as integers of a synthesised reference, and edits of its text."""

import ast
import math
from typing import Any

import pytest

from kernelwright.tasks.records import Use
from kernelwright.tasks.shapes import with_sizes
from kernelwright.tasks.suites.table import Entry, literal, product, scaled, spread, tabulate
from kernelwright.tasks.suites.text import devices_as, imports, missing_imports, without


def _value(text: str, sizes: dict[str, int], expression: str) -> Any:
    names: dict[str, Any] = {}
    exec(with_sizes(text, sizes), names)
    return eval(expression, names)


def test_each_case_gives_back_its_own_parameters() -> None:
    rows = [{"m": 4, "dtype": "float16", "p": 0.5}, {"m": 8, "dtype": "bfloat16", "p": math.inf}]
    table = tabulate([Entry(Use.CORRECTNESS, rows[0]), Entry(Use.TIMING, rows[1])], "import torch\n")
    for case, row in zip(table.cases, rows, strict=True):
        assert _value(table.text, dict(case.sizes), table.mapping()) == row
        assert _value(table.text, dict(case.sizes), f"dict({table.keywords()})") == row


def test_whole_numbers_of_later_cases_do_not_stand_in_the_text() -> None:
    table = tabulate([Entry(Use.CORRECTNESS, {"m": 4}), Entry(Use.HELD_OUT, {"m": 7919})], "")
    assert "7919" not in table.text
    assert table.cases[1].sizes == {"m": 7919}


def test_a_name_that_the_suite_uses_is_left_alone() -> None:
    source = "size = 3\ndef helper():\n    return size\n"
    table = tabulate([Entry(Use.CORRECTNESS, {"size": 64, "max": 2, "lambda": 1})], source)
    assert dict(table.cases[0].sizes) == {"case_size": 64, "case_max": 2, "case_lambda": 1}
    names: dict[str, Any] = {}
    exec(source + table.text, names)
    assert names["helper"]() == 3


def test_a_parameter_that_some_cases_lack_is_left_out_where_it_is_lacking() -> None:
    entries = [Entry(Use.CORRECTNESS, {"n": 2}), Entry(Use.CORRECTNESS, {"n": 3, "cond": 5})]
    table = tabulate(entries, "")
    found = [_value(table.text, dict(case.sizes), table.mapping()) for case in table.cases]
    assert found == [{"n": 2}, {"n": 3, "cond": 5}]


def test_cases_of_one_use_have_names_of_their_own() -> None:
    entries = [Entry(Use.TIMING, {"n": 8, "x": None}), Entry(Use.TIMING, {"n": 8, "x": []}), Entry(Use.TIMING, {})]
    names = [case.name for case in tabulate(entries, "").cases]
    assert len(set(names)) == 3
    assert names[0] == "n=8"


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 9, 40])
def test_there_is_always_a_case_to_check_and_the_largest_is_timed(count: int) -> None:
    rows = [{"n": 1 + (7 * i) % count} for i in range(count)]
    entries = spread(rows, product)
    sizes = {use: [entry.values["n"] for entry in entries if entry.use is use] for use in Use}
    assert min(sizes[Use.CORRECTNESS]) == 1
    assert max(sizes[Use.TIMING]) == count
    assert all(len(sizes[use]) <= most for use, most in zip(Use, (4, 3, 2), strict=True))
    assert (len(sizes[Use.HELD_OUT]) > 0) == (count >= 8)
    assert count == 1 or not set(sizes[Use.HELD_OUT]) & set(sizes[Use.CORRECTNESS] + sizes[Use.TIMING])


def test_a_scale_keeps_small_cases_and_never_none() -> None:
    rows = [{"n": 10}, {"n": 100}, {"n": 1000}]
    assert scaled(rows, product, None) == rows
    assert scaled(rows, product, 0.1) == rows[:2]
    assert scaled(rows, product, 1e-9) == rows[:1]


def test_a_seed_is_no_work() -> None:
    assert product({"n": 4, "m": 2, "seed": 9999, "dtype": "int32"}) == 8


@pytest.mark.parametrize("value", [{"a": [1, None, True]}, "it's", 1e-6, [[1, 2], [3]]])
def test_a_literal_is_the_value_again(value: Any) -> None:
    assert ast.literal_eval(literal(value)) == value
    assert math.isnan(eval(literal(math.nan)))


def test_statements_go_as_whole_lines_and_the_rest_stays() -> None:
    source = "import gone\nimport math  # kept\n\n@decorated(\n    1\n)\nclass Gone:\n    pass\n\nkept = math.pi\n"
    left = without(source, lambda s: imports({"gone"})(s) or (isinstance(s, ast.ClassDef) and s.name == "Gone"))
    assert left == "import math  # kept\n\n\nkept = math.pi\n"


def test_an_import_of_several_modules_stays_when_one_of_them_is_needed() -> None:
    assert "math" in without("import gone, math\n", imports({"gone"}))


def test_only_device_literals_become_the_variable() -> None:
    source = 'd = f("é", device="cuda"), \'cuda:0\', "cudagraph", f"cuda{1}"\n'
    assert devices_as(source, "DEVICE") == 'd = f("é", device=DEVICE), DEVICE, "cudagraph", f"cuda{1}"\n'


def test_packages_that_are_not_torch_are_named() -> None:
    source = "import torch, json\ndef f():\n    from flashinfer.norm import rmsnorm\n    import numpy.linalg\n"
    assert missing_imports(source) == ["flashinfer"]
