"""MSKernelBench: programs and their lists of cases in a small folder of the same shape; what our references compute."""

import inspect
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from kernelwright.evaluator.runner.cases import Case
from kernelwright.tasks.errors import TaskError
from kernelwright.tasks.records import Task, Use
from kernelwright.tasks.shapes import with_sizes
from kernelwright.tasks.suites.cpp_cases import listed_cases
from kernelwright.tasks.suites.ms_operators import OPERATORS
from kernelwright.tasks.suites.mskernelbench import MsKernelBench
from kernelwright.tasks.suites.suite import Selection

CASES = """
struct TestCase {{ int unused; }};

void load_test_case(std::vector<TestCase>& test_case_list) {{
{lists}
    // std::vector<int> N_list = {{999}};
    for (int i = 0; i < configs.size(); i++)
    {{
        TestCase test_case;
{fields}
        std::uniform_real_distribution<float> input_dist(-1.0f, 1.0f);
        int input_item = 7;
        for (int ii = 0; ii < input_item; ii++) {{
            test_case.input[ii] = input_dist(rng);
        }}
        test_case_list.push_back(test_case);
    }}
}}

int main() {{ return 0; }}
"""
LOOPS = """
void load_test_case(std::vector<TestCase>& test_case_list) {
    std::vector<int> N_list = {16, 1 << 5,
                               64};
    std::vector<std::vector<int>> pairs = {{2, 3}, {4, 5}};
    std::vector<std::tuple<int, int>> configs = {{7, 8}};
    int K = 4096;
    for (int n : N_list)
    for (int j = 0; j < pairs.size(); j++)
        for (size_t k = 0; k < configs.size(); k++) {
            test_case.N = n;
            test_case.a = pairs[j][0];  // the first
            test_case.b = pairs[j][1];
            test_case.c = std::get<1>(configs[k]);
            test_case.K = K;
            test_case.epsilon = 1e-5f;
            test_case.nnz = static_cast<int>(test_case.N * 0.01f);
            for (int ii = 0; ii < test_case.N; ii++) { test_case.x[ii] = 1; }
        }
}
"""
SIZES = {"M": 5, "D": 6, "B": 3, "K": 4, "P": 3, "stride": 2, "padding": 1}
SIZES |= {"kernel_size": 3, "kernel_rows": 3, "kernel_cols": 2, "input_size": 40, "rows": 40, "cols": 70}
SIZES |= {"seq_length": 6, "head_dim": 5, "batch_size": 2, "head_num": 2}


def program(operator: str, rows: list[dict[str, int]]) -> str:
    names = list(rows[0])
    values = ", ".join("{" + ", ".join(str(row[n]) for n in names) + "}" for row in rows)
    fields = "\n".join(f"        test_case.{name} = configs[i][{at}];" for at, name in enumerate(names))
    return CASES.format(lists=f"    std::vector<std::vector<int>> configs = {{{values}}};", fields=fields)


def write(root: Path, operator: str, rows: list[dict[str, int]] | None) -> None:
    files = {f"fp32/{operator}.cu": operator, f"bf16/{operator}_bf16.cu": f"{operator}_bf16"}
    for where, function in files.items():
        file = root / "origin" / where
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f'#include <cuda.h>\nextern "C" void {function}(\n    const float* input, int N) {{\n}}\n')
    if rows is not None:
        (root / "origin" / "bf16" / f"test_{operator}_bf16.cu").write_text(program(operator, rows))


pytestmark = pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")


@pytest.fixture(autouse=True)
def _no_grad() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    write(tmp_path, "softmax", [{"N": n, "C": 7919 + n} for n in range(1, 13)])
    return tmp_path


def made(root: Path, operator: str, **sizes: int) -> dict[str, Any]:
    """The namespace of an operator's reference at ``sizes``, small ones where none are given."""
    names = OPERATORS[operator].sizes
    write(root, operator, [{name: sizes.get(name, SIZES.get(name, 9)) for name in names}])
    (task,) = MsKernelBench().load(root, Selection(levels=("fp32",), names=(operator,))).tasks
    found: dict[str, Any] = {}
    exec(with_sizes(task.source, task.cases[0].sizes), found)
    torch.manual_seed(3)
    return found


def run(root: Path, operator: str, **sizes: int) -> tuple[list[Any], tuple[torch.Tensor, ...]]:
    """Inputs and outputs of an operator's reference, in float64."""
    names = made(root, operator, **sizes)
    inputs = [wide(value) for value in names["get_inputs"]()]
    outputs = names["Model"]()(*inputs)
    return inputs, outputs if isinstance(outputs, tuple) else (outputs,)


def wide(value: Any) -> Any:
    return value.double() if isinstance(value, torch.Tensor) and value.is_floating_point() else value


def test_an_operator_is_a_task_in_each_dtype_with_the_cases_of_the_test_program(clone: Path) -> None:
    loaded = MsKernelBench().load(clone, Selection())
    assert {t.name: t.cases[0].dtypes for t in loaded.tasks} == {
        "mskernelbench/fp32/softmax": ("float32",),
        "mskernelbench/bf16/softmax": ("bfloat16",),
    }
    task = loaded.tasks[1]
    assert (task.category, task.scenario) == ("normalization", "llm")
    assert max(c.sizes["N"] for c in task.cases if c.use is Use.TIMING) == 12
    hidden = [c for c in task.cases if c.use is Use.HELD_OUT]
    assert hidden
    assert all(str(case.sizes["C"]) not in task.source for case in hidden)


def test_the_judge_opens_a_case_in_bfloat16(clone: Path) -> None:
    task: Task = MsKernelBench().load(clone, Selection(levels=("bf16",), scale=0.3)).tasks[0]
    opened = Case(task, task.cases[0].sizes, "bfloat16", "cpu", None, seed=1)
    (x,) = opened.arguments(opened.inputs)
    assert (tuple(x.shape), x.dtype) == ((1, 7920), torch.bfloat16)
    torch.testing.assert_close(opened.expected.oracle[0], torch.softmax(x.double(), -1))


def test_lists_loops_and_fields_are_read_as_the_program_runs_them() -> None:
    rows = listed_cases(LOOPS)
    assert len(rows) == 6
    assert rows[0] == {"N": 16, "a": 2, "b": 3, "c": 8, "K": 4096}
    assert rows[-1] == {"N": 64, "a": 4, "b": 5, "c": 8, "K": 4096}


@pytest.mark.parametrize("operator", sorted(OPERATORS))
def test_every_reference_computes_the_same_in_each_dtype_and_differs_by_draw(tmp_path: Path, operator: str) -> None:
    names = made(tmp_path, operator)
    model, inputs = names["Model"](), names["get_inputs"]()
    assert len(inspect.signature(model.forward).parameters) == len(inputs)
    results = {}
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        cast = [v.to(torch.bfloat16).to(dtype) if torch.is_tensor(v) and v.is_floating_point() else v for v in inputs]
        outputs = model(*cast)
        results[dtype] = outputs if isinstance(outputs, tuple) else (outputs,)
        assert all(o.dtype == dtype for o in results[dtype] if o.is_floating_point())
    for exact, single, half in zip(*results.values(), strict=True):
        if not exact.is_floating_point():
            continue  # places: those of rounded values may be others
        assert float((single - exact).norm()) <= 1e-5 * float(exact.norm() + 1)
        assert float((half.double() - exact).norm()) <= 3e-2 * float(exact.double().norm() + 0.1)
    again = model(*names["get_inputs"]())
    assert not torch.equal((again if isinstance(again, tuple) else (again,))[0], results[torch.float32][0])


def dense(operator: str, inputs: list[Any], rows: int, cols: int) -> torch.Tensor:
    """The sparse matrix of an operator's inputs, entry by entry."""
    matrix = torch.zeros(rows, cols, dtype=torch.float64)
    values, *indices = inputs
    if operator.endswith("coo"):
        entries = [(int(r), int(c), v) for r, c, v in zip(indices[0], indices[1], values, strict=True)]
    elif operator.endswith("ell"):
        width = values.shape[1]
        entries = [(r, int(indices[0][r, e]), values[r, e]) for r in range(rows) for e in range(width) if indices[0][r, e] >= 0]
    else:
        inner, starts = indices[:2]
        pairs = [(o, e) for o in range(len(starts) - 1) for e in range(int(starts[o]), int(starts[o + 1]))]
        entries = [(o, int(inner[e]), values[e]) for o, e in pairs]
        entries = entries if operator.endswith("csr") else [(row, column, value) for column, row, value in entries]
    for row, column, value in entries:
        matrix[row, column] += value
    return matrix


@pytest.mark.parametrize("operator", [f"{kind}_{form}" for kind in ("spmv", "spmm") for form in ("coo", "csr", "csc", "ell")])
def test_sparse_products_are_those_of_the_dense_matrix(tmp_path: Path, operator: str) -> None:
    inputs, (output,) = run(tmp_path, operator)
    other = next(v for v in inputs[1:] if torch.is_tensor(v) and v.is_floating_point())
    matrix = dense(operator, inputs, 40, 70)
    assert int((matrix != 0).sum()) >= 28
    torch.testing.assert_close(output, matrix @ other)


def test_a_rotary_embedding_turns_neighbours(tmp_path: Path) -> None:
    (x,), (y,) = run(tmp_path, "rope", M=4, D=6)
    for m in range(4):
        for pair in range(3):
            angle = m * 10000.0 ** (-2 * pair / 6)
            a, b = x[m, 2 * pair], x[m, 2 * pair + 1]
            assert y[m, 2 * pair] == pytest.approx(float(a * math.cos(angle) - b * math.sin(angle)))
            assert y[m, 2 * pair + 1] == pytest.approx(float(a * math.sin(angle) + b * math.cos(angle)))


def test_equal_values_are_ranked_by_place(tmp_path: Path) -> None:
    model = made(tmp_path, "top_k")["Model"]()
    values, indices = model(torch.tensor([1.0, 3.0, 3.0, 2.0, 3.0]), 4)
    assert (values.tolist(), indices.tolist(), indices.dtype) == ([3, 3, 3, 2], [1, 2, 4, 3], torch.int32)


def test_simpsons_rule_is_exact_for_cubics_and_drops_an_odd_sample(tmp_path: Path) -> None:
    model = made(tmp_path, "simpson_int")["Model"]()
    x = torch.linspace(1, 3, 9, dtype=torch.float64)
    assert float(model(x**3, 1.0, 3.0)) == pytest.approx(20.0)
    even = torch.cat([x**3, torch.full((1,), 1e9, dtype=torch.float64)])
    assert float(model(even, 1.0, 3.25)) == pytest.approx(20.0)


def test_triangle_attention_is_a_softmax_for_each_channel(tmp_path: Path) -> None:
    (q, k, v, mask), (output,) = run(tmp_path, "triangle_attention")
    mask[0, 2, :3] = 1.0
    output = made(tmp_path, "triangle_attention")["Model"]()(q, k, v, mask)
    assert bool((output[0, :, 2] == 0).all())
    for i, d in ((0, 1), (3, 0), (5, 4)):
        seen = [j for j in range(i + 1) if mask[1, i, j] < 0.5]
        weights = torch.softmax(torch.stack([q[1, 1, i, d] * k[1, 1, j, d] for j in seen]) / 5**0.5, 0) if seen else None
        expected = sum(float(w * v[1, 1, j, d]) for w, j in zip(weights, seen, strict=True)) if weights is not None else 0.0
        assert output[1, 1, i, d] == pytest.approx(expected)


def test_merged_attention_is_attention_over_both_parts(tmp_path: Path) -> None:
    model = made(tmp_path, "merge_attn_states")["Model"]()
    scores, values = torch.randn(2, 3, 8, dtype=torch.float64), torch.randn(2, 8, 4, dtype=torch.float64)
    parts = []
    for part in (slice(0, 5), slice(5, 8)):
        s = scores[..., part]
        parts += [(torch.softmax(s, -1) @ values[:, part]).transpose(0, 1), torch.logsumexp(s, -1)]
    merged, lse = model(*parts)
    torch.testing.assert_close(merged, (torch.softmax(scores, -1) @ values).transpose(0, 1))
    torch.testing.assert_close(lse, torch.logsumexp(scores, -1))


def test_a_stencil_keeps_the_boundary_and_smooths_inside(tmp_path: Path) -> None:
    (u,), (new,) = run(tmp_path, "stencil_2d", nx=5, ny=6)
    assert torch.equal(new[0], u[0])
    assert torch.equal(new[:, -1], u[:, -1])
    around = u[1, 3] + u[3, 3] + u[2, 2] + u[2, 4]
    assert new[2, 3] == pytest.approx(float(u[2, 3] + 0.25 * (around - 4 * u[2, 3])))


def test_what_cannot_be_used_is_left_out_with_the_reason(clone: Path) -> None:
    write(clone, "quicksand", [{"N": 4}])
    write(clone, "gelu", None)
    write(clone, "rope", [{"M": 4}])
    write(clone, "sigmoid", [{"N": 4}])
    (clone / "origin/fp32/sigmoid.cu").write_text('extern "C" void sigmoid2(float* x) {}\n')
    write(clone, "elu", [{"N": 4}])
    test = clone / "origin/bf16/test_elu_bf16.cu"
    test.write_text(test.read_text().replace("{{4}}", "{{many}}"))
    write(clone, "RELU", [{"N": 4}])
    (clone / "origin/bf16/test_RELU_bf16.cu").write_text("int main() { return 0; }\n")
    left_out = MsKernelBench().load(clone, Selection(levels=("fp32",))).left_out
    reasons = {
        "quicksand": "no torch reference of ours",
        "gelu": "it has no test_gelu_bf16.cu",
        "rope": "the cases of test_rope_bf16.cu have no D",
        "sigmoid": "has no function sigmoid",
        "elu": "its list configs is no list of integers",
        "RELU": "no load_test_case",
    }
    assert {name.split("/")[-1] for name in left_out} == set(reasons)
    assert all(why in left_out[f"mskernelbench/fp32/{name}"] for name, why in reasons.items())


def test_a_wrong_path_is_told(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="no folder"):
        MsKernelBench().load(tmp_path / "missing", Selection())
    with pytest.raises(TaskError, match="holds no origin/fp32"):
        MsKernelBench().load(tmp_path, Selection())
