"""Sizes read from a reference's text, replaced in it, and further shapes derived for plain files."""

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelwright.tasks.errors import TaskError
from kernelwright.tasks.records import ShapeCase, Use
from kernelwright.tasks.shapes import derive, integers, keep_accepted, with_sizes

SAMPLES = Path(__file__).parent / "samples"


def sample(name: str) -> str:
    return (SAMPLES / f"{name}.py").read_text()


def derived(source: str) -> dict[str, ShapeCase]:
    return {case.name: case for case in derive(source) if case.derived}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("N = 4", {"N": 4}),
        ("N: int = 4", {"N": 4}),
        ("N = 2048 * 2 - 1", {"N": 4095}),
        ("N = 2 ** 10", {"N": 1024}),
        ("N = 1 << 4", {"N": 16}),
        ("dim = -1", {"dim": -1}),
        ("height = width = 8", {"height": 8, "width": 8}),
        ("H, W = 3, 5", {"H": 3, "W": 5}),
        ("(H, W), C = (3, 5), 7", {"H": 3, "W": 5, "C": 7}),
        ("M = 8\nN = M // 2", {"M": 8}),
        ("flag = True\nrate = 0.5\nname = 'x'\nshape = (3, 4)", {}),
        ("N = 8 / 2", {}),
        ("N = 5 // 0", {}),
        ("N = 9 ** 9 ** 9", {}),
        ("def f():\n    N = 4", {}),
        ("N = 4\nN *= 2", {}),
        ("for N in range(3):\n    pass\nN = 4", {}),
        ("N = 4\nN = 8", {"N": 8}),
    ],
)
def test_integers_are_the_constant_ones_at_module_level(source: str, expected: dict[str, int]) -> None:
    assert integers(source) == expected


def test_integers_come_in_the_order_of_the_text() -> None:
    assert list(integers("b = 1\na = 2\nc = 3")) == ["b", "a", "c"]


def test_replacing_keeps_every_other_character() -> None:
    source = "# größe: π\nN = 4  # rows\nH, W = 3, 5; K = 9\ntext = 'N = 4'\n\n\nclass Model:\n    N = 4\n"
    new = with_sizes(source, {"N": 70, "W": 50})
    assert new == source.replace("N = 4  #", "N = 70  #").replace("3, 5", "3, 50")


def test_a_chained_assignment_is_taken_apart() -> None:
    new = with_sizes("height = width = 128\nK = 1\n", {"width": 7})
    assert integers(new) == {"height": 128, "width": 7, "K": 1}


def test_what_follows_from_a_size_follows() -> None:
    namespace: dict[str, object] = {}
    exec(with_sizes("M = 8\nN = M // 2\nshape = (N, 1)\n", {"M": 20}), namespace)
    assert (namespace["N"], namespace["shape"]) == (10, (10, 1))


def test_an_element_of_a_literal_is_a_size() -> None:
    namespace: dict[str, object] = {}
    exec(with_sizes("shape = (3, 32768)\n", {"shape[1]": 7}), namespace)
    assert namespace["shape"] == (3, 7)


def test_both_of_two_assignments_are_replaced() -> None:
    assert with_sizes("N = 4\nN = 8\n", {"N": 5}) == "N = 5\nN = 5\n"


def test_an_unknown_size_is_refused_with_the_known_ones() -> None:
    with pytest.raises(TaskError, match="no module-level integer 'K'") as error:
        with_sizes("N = 4\nM = 2\n", {"K": 3})
    assert error.value.remedy == "it has: N, M"


@pytest.mark.parametrize("value", [2.0, True, "8"])
def test_a_size_that_is_no_integer_is_refused(value: object) -> None:
    with pytest.raises(TaskError, match="expected an integer"):
        with_sizes("N = 4\n", {"N": value})  # type: ignore[dict-item]


@pytest.mark.parametrize("function", [integers, derive, lambda source: with_sizes(source, {})])
def test_a_syntax_error_gives_its_line(function) -> None:
    with pytest.raises(TaskError, match="line 2"):
        function("N = 4\nM = = 3\n")


@given(st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), st.integers(-(10**6), 10**6)))
def test_what_was_put_in_is_read_back(sizes: dict[str, int]) -> None:
    source = "a = 1\nb = c = 2\nd, e = 3, 4\n"
    assert integers(with_sizes(source, sizes)) == {**integers(source), **sizes}


@pytest.mark.parametrize("name", [path.stem for path in sorted(SAMPLES.glob("*.py"))])
def test_every_plain_file_is_timed_and_checked_at_its_own_shape(name: str) -> None:
    source = sample(name)
    own = [case for case in derive(source) if not case.derived]
    assert [case.use for case in own] == [Use.TIMING, Use.CORRECTNESS]
    assert all(not case.sizes and case.leading is None and case.dtypes == ("float32",) for case in own)


@pytest.mark.parametrize("name", [path.stem for path in sorted(SAMPLES.glob("*.py"))])
def test_derived_shapes_are_smaller_and_their_use_is_told(name: str) -> None:
    source = sample(name)
    given_sizes = integers(source) | {"input_shape[0]": 32768}
    cases = derived(source)
    assert any(case.use is Use.CORRECTNESS for case in cases.values())
    assert sum(case.use is Use.HELD_OUT for case in cases.values()) >= 2
    for case in cases.values():
        assert case.sizes or case.leading
        assert all(1 <= size < given_sizes[key] for key, size in case.sizes.items()), case
        ast.parse(with_sizes(source, case.sizes))


@pytest.mark.parametrize("name", ["linear_gelu", "conv_bias", "matmul", "softmax", "group_norm", "helper"])
def test_unaligned_sizes_are_odd_and_differ(name: str) -> None:
    sizes = list(derived(sample(name))["unaligned"].sizes.values())
    assert all(size % 2 for size in sizes)
    assert len(set(sizes)) == len(sizes)


def test_settings_of_the_constructor_stay() -> None:
    touched = {size for case in derived(sample("conv_bias")).values() for size in case.sizes}
    assert touched == {"batch_size", "out_channels", "height", "width"}
    touched = {size for case in derived(sample("softmax")).values() for size in case.sizes}
    assert touched == {"batch_size", "input_shape[0]"}


def test_a_size_that_follows_from_another_is_left_to_follow() -> None:
    assert set(derived(sample("matmul"))["unaligned"].sizes) == {"M", "K"}


def test_sizes_are_found_through_helpers_and_seeds_and_strangers_are_not_taken() -> None:
    touched = {size for case in derived(sample("helper")).values() for size in case.sizes}
    assert touched == {"table_rows", "columns", "wanted"}


def test_one_alternative_keeps_the_divisions_that_the_file_has() -> None:
    cases = derived(sample("group_norm"))
    assert cases["unaligned"].sizes["features"] % 16
    divisible = cases["unaligned-divisible"].sizes
    assert divisible["features"] % 16 == 0
    assert divisible["dim1"] % 2
    assert divisible["dim2"] % 2


def test_without_integers_the_leading_dimension_is_cut() -> None:
    cases = derived(sample("literal"))
    assert all(not case.sizes for case in cases.values())
    assert {name: case.leading for name, case in cases.items()} == {
        "small-leading": 4,
        "unaligned-leading": 7,
        "single-leading": 1,
    }


def test_large_shapes_are_derived_cheap() -> None:
    source = "import torch\nN = 65536\nM = 65536\n\ndef get_inputs():\n    return [torch.rand(N, M)]\n"
    sizes = derived(source)["unaligned"].sizes
    assert 2**18 < sizes["N"] * sizes["M"] <= 2**22


def test_a_square_matrix_counts_as_a_product() -> None:
    source = "import torch\nN = 8192\n\ndef get_inputs():\n    return [torch.rand(N, N), torch.rand(N, N)]\n"
    assert derived(source)["unaligned"].sizes["N"] <= 161


def test_literal_dimensions_count_as_work() -> None:
    source = "import torch\nbatch = 1024\n\ndef get_inputs():\n    return [torch.rand(batch, 3, 224, 224)]\n"
    assert derived(source)["unaligned"].sizes["batch"] <= 27


def test_of_each_stem_the_first_accepted_stays() -> None:
    cases = derive(sample("group_norm"))
    kept = keep_accepted(cases, lambda case: case.sizes.get("features", 16) % 16 == 0)
    names = [case.name for case in kept]
    assert names[:2] == ["given", "given"]
    assert "unaligned-divisible" in names
    assert not {"unaligned", "unaligned-batch", "small-batch"} & set(names)


def test_nothing_accepted_leaves_the_own_shape() -> None:
    assert [c.name for c in keep_accepted(derive(sample("matmul")), lambda case: False)] == ["given", "given"]
