"""What writers really send: fences gone wrong, prose, edits, JSON, diffs, half an answer, rubbish."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelwright.agent.answer.read import read_answer

KERNEL = '''import torch
import torch.nn as nn
from kernelwright.evaluator.native import load

lib = load(cpp=r"""
extern "C" void twice(const float* x, float* y, int64_t n) {
  #pragma omp parallel for simd
  for (int64_t i = 0; i < n; ++i) y[i] = 2.0f * x[i];
}
""")


class ModelNew(nn.Module):
    def forward(self, x):
        y = torch.empty_like(x)
        lib.twice(x, y, x.numel())
        return y
'''


def source(text: str, start: str | None = None) -> str:
    kernel, problem, _ = read_answer(text, "cpp", start)
    assert kernel is not None, problem
    assert problem == ""
    assert kernel.backend == "cpp"
    return kernel.source


def problem(text: str, start: str | None = None) -> str:
    kernel, why, _ = read_answer(text, "cpp", start)
    assert kernel is None
    assert why
    return why


def fenced(code: str, fence: str = "```", language: str = "python") -> str:
    return f"{fence}{language}\n{code}{fence}\n"


def edit(search: str, replace: str) -> str:
    return f"<<<<<<< SEARCH\n{search}\n=======\n{replace}\n>>>>>>> REPLACE\n"


@pytest.mark.parametrize(
    "text",
    [
        fenced(KERNEL),
        "Strategy: one pass.\n\n" + fenced(KERNEL) + "\nThis is fast because it is one pass.",
        fenced(KERNEL, "~~~"),
        fenced(KERNEL, "````"),
        fenced(KERNEL, language=""),
        fenced(KERNEL, language="py title=kernel.py"),
        fenced(KERNEL).replace("\n", "\r\n"),
        "\ufeff" + fenced(KERNEL),
        KERNEL,
        "Here is the kernel:\n\n" + KERNEL + "\nI hope that it helps.\nIt is one pass.",
        "```python\n" + KERNEL,
        "```python\n" + KERNEL + "~~~\nand that is all.",
        "```python\n" + KERNEL + "'''\n",
        json.dumps({"strategy": "one pass", "code": KERNEL}),
        "```json\n" + json.dumps({"answer": {"files": [KERNEL]}}) + "\n```",
        json.dumps({"code": fenced(KERNEL)}),
        "<think>\n```python\nclass ModelNew: pass\n```\n</think>\n" + fenced(KERNEL),
        "```python\nclass ModelNew: pass\n```\nno, better one pass\n</think>\n" + fenced(KERNEL),
        "<|channel|>analysis<|message|>a sketch<|end|><|channel|>final<|message|>" + fenced(KERNEL),
        fenced(KERNEL, language="python kernel.py"),
        "```python import torch\n" + KERNEL.split("\n", 1)[1] + "```\n",
        "```python\n" + KERNEL.rstrip("\n") + "```\nThat is all.",
        "1. The kernel:\n\n" + "".join(f"    {line}\n" for line in fenced(KERNEL).splitlines()) + "\n2. Notes.",
        fenced("```python\n" + KERNEL + "```\n", "```", "markdown"),
        fenced(fenced(KERNEL), "````", "markdown"),
        "'''python\n" + KERNEL + "'''\n",
        KERNEL.replace("    ", "\u00a0\u00a0\u00a0\u00a0"),
        '{"strategy": "one pass", "code": "' + KERNEL.replace("\\", "\\\\").replace('"', '\\"') + '"}',
        repr({"strategy": "one pass", "code": KERNEL}),
        "I will write it.\n<tool_call>\n" + json.dumps({"name": "write", "arguments": {"content": KERNEL}}) + "\n</tool_call>",
        json.dumps({"tool_calls": [{"function": {"name": "write", "arguments": json.dumps({"content": KERNEL})}}]}),
        '<invoke name="write">\n<parameter name="path">kernel.py</parameter>\n<parameter name="content">'
        + KERNEL
        + "</parameter>\n</invoke>",
        '<file path="kernel.py"><![CDATA[' + KERNEL + "]]></file>\nDone.",
        "--- /dev/null\n+++ b/kernel.py\n@@ -0,0 +1,19 @@\n" + "".join(f"+{line}\n" for line in KERNEL.splitlines()),
    ],
)
def test_a_whole_file_is_read_however_it_is_wrapped(text: str) -> None:
    assert source(text) == KERNEL


def test_of_several_blocks_the_last_complete_model_counts() -> None:
    sketch = fenced("class ModelNew(nn.Module):\n    ...\n")
    usage = fenced("print(ModelNew()(x))\n")
    half = "```python\nclass ModelNew(nn.Module):\n    def forward(self, x"
    assert source(sketch + fenced(KERNEL) + usage) == KERNEL
    assert source(fenced(KERNEL) + "or, better:\n" + half) == KERNEL
    assert source(fenced(KERNEL) + fenced("class ModelNew(:\n")) == KERNEL


def test_of_several_versions_the_last_complete_one_counts() -> None:
    second = KERNEL.replace("2.0f", "3.0f")
    outline = fenced("class ModelNew(nn.Module):\n    def __init__(self):\n        super().__init__()\n")
    plan = "## Plan\n1. fuse\n2. vectorise\n"
    assert source(plan + fenced(KERNEL) + "Now with 3:\n" + fenced(second) + "In outline:\n" + outline) == second
    assert source(json.dumps({"draft": KERNEL + "\n# a much longer draft", "final": second, "outline": outline})) == second


def test_a_fence_inside_the_code_does_not_end_it() -> None:
    head = "class ModelNew(nn.Module):\n"
    shown = KERNEL.replace(head, head + '    """Use:\n```\nModelNew()(x)\n```\n    """\n\n')
    assert source("Strategy: one pass\n" + fenced(shown) + "Done.") == shown


HELPER = "import torch\nimport triton\nimport triton.language as tl\n\n\n@triton.jit\ndef twice(x, y, n):\n    pass\n"
USER = "import torch.nn as nn\n\n\nclass ModelNew(nn.Module):\n    def forward(self, x):\n        y = torch.empty_like(x)\n"
USER += "        twice[(1,)](x, y, x.numel())\n        return y\n"


def test_a_file_cut_into_blocks_is_put_together() -> None:
    old = fenced(HELPER.replace("pass", "return"))
    text = source("First the kernel:\n" + old + fenced(HELPER) + "then the module:\n" + fenced(USER) + fenced("print(1)\n"))
    assert text == HELPER + "\n" + USER, "of two blocks that define the same the later, and nothing that is not needed"


def test_files_of_their_own_become_one() -> None:
    user = USER.replace("import torch.nn as nn\n", "import torch\nimport torch.nn as nn\nfrom kernels import twice\n")
    text = source(fenced("# kernels.py\n" + HELPER) + fenced("# model.py\n" + user))
    assert "from kernels" not in text
    assert text.index("def twice") < text.index("class ModelNew")
    assert source(fenced(HELPER) + fenced(user)) == user, "a block that does not say it is kernels.py is not taken for it"


def test_blocks_that_the_file_does_not_need_stay_out() -> None:
    assert source(fenced(HELPER) + fenced(KERNEL)) == KERNEL


def test_a_file_that_leaves_parts_out_is_not_guessed() -> None:
    half = USER.replace("class ModelNew", "# ... rest of the kernel unchanged ...\n\nclass ModelNew")
    assert "leaves parts out" in problem(fenced(half), KERNEL)
    whole = KERNEL.replace("class ModelNew", "# the rest ... is unchanged by y\nclass ModelNew")
    assert source(fenced(whole)) == whole, "a comment in a complete file says nothing"


def test_a_closed_block_that_does_not_parse_is_left_to_the_judge() -> None:
    broken = KERNEL.replace("def forward(self, x):", "def forward(self, x:")
    assert source(fenced(broken)) == broken


@pytest.mark.parametrize("last", ["lib.twice(x", "y = torch", "def forward(self, x):", "class ModelNew"])
def test_an_answer_cut_off_is_truncated_not_guessed(last: str) -> None:
    assert "truncated" in problem("```python\n" + KERNEL[: KERNEL.index(last) + len(last)])


def test_a_cut_inside_the_model_never_yields_the_part_before_it() -> None:
    helper = KERNEL + "\n\nclass Unused:\n    pass\n"
    assert "truncated" in problem("```python\n" + helper[: helper.index("lib.twice(x") + 9])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        (" \n\t\n", "empty"),
        ("I am sorry, I cannot write this kernel.", "no code block"),
        (fenced("print('hello')\n"), "no code block"),
        ('{"error": "overloaded"}', "JSON"),
        ("[1, 2, 3]", "JSON"),
        ("x" * 1_000_001, "1000001 characters"),
        ("The class ModelNew goes like this.", "ModelNew"),
        (edit("a", "b"), "no start point"),
    ],
)
def test_what_is_no_kernel_says_why(text: str, says: str) -> None:
    assert says in problem(text)


@pytest.mark.parametrize(
    ("text", "strategy"),
    [
        ("Strategy: two rows a thread.\n" + fenced(KERNEL), "two rows a thread."),
        ("**Strategy:** two rows a thread.\n" + fenced(KERNEL), "two rows a thread."),
        ("## Strategy: `two rows`\n" + fenced(KERNEL), "two rows"),
        (fenced(KERNEL), ""),
    ],
)
def test_the_strategy_line(text: str, strategy: str) -> None:
    assert read_answer(text, "cpp", None)[2] == strategy


def test_the_strategy_survives_an_unreadable_answer() -> None:
    assert read_answer("Strategy: nothing yet", "cpp", None)[2] == "nothing yet"


def test_edits_apply_in_order() -> None:
    text = edit("  #pragma omp parallel for simd", "  #pragma omp parallel for simd schedule(static)")
    text += "and then\n" + edit("for simd schedule(static)", "unused")
    assert "does not match" in problem(text, KERNEL), "whole lines only"
    text = edit("        return y", "        return y.clone()") + edit("        return y.clone()", "        return y  # last")
    assert source(text, KERNEL) == KERNEL.replace("return y", "return y  # last")


def test_edits_in_a_fence_with_prose() -> None:
    text = "Strategy: static.\n```text\n" + edit("        return y", "        return y + 0") + "```\nDone."
    assert source(text, KERNEL) == KERNEL.replace("return y", "return y + 0")


def test_an_edit_may_differ_in_white_space_where_the_place_is_unique() -> None:
    text = edit("y = torch.empty_like(x)\nlib.twice(x,  y, x.numel())", "y = torch.zeros_like(x)\nlib.twice(x, y, 1)")
    changed = KERNEL.replace("empty_like", "zeros_like").replace("x.numel()", "1")
    assert source(text, KERNEL) == changed, "and the replacement is indented like the place it goes to"


def test_edits_that_do_not_fit_name_the_block() -> None:
    good = edit("        return y", "        return y + 0")
    assert problem(good + edit("    not there", "x"), KERNEL).startswith("edit block 2 does not match")
    assert "matches 2 places" in problem(edit("import torch", "x"), "import torch\nimport torch\nclass ModelNew: pass\n")
    assert "not closed" in problem(good + "<<<<<<< SEARCH\n        y = 1\n=======\n", KERNEL)
    assert "no =======" in problem("<<<<<<< SEARCH\na\n>>>>>>> REPLACE\n", KERNEL)
    assert "empty SEARCH" in problem(edit("", "x = 1"), KERNEL)
    assert "unchanged" in problem(edit("        return y", "        return y"), KERNEL)
    assert "remove class ModelNew" in problem(edit("class ModelNew(nn.Module):", "class Other(nn.Module):"), KERNEL)


def test_an_edit_can_delete_lines() -> None:
    assert source(edit("  #pragma omp parallel for simd", ""), KERNEL) == KERNEL.replace(
        "  #pragma omp parallel for simd\n", ""
    )


def test_a_whole_file_wins_over_edits_beside_it() -> None:
    assert source(edit("        return y", "        return x") + fenced(KERNEL), KERNEL) == KERNEL


def test_a_unified_diff_applies_by_its_content() -> None:
    diff = "--- a/kernel.py\n+++ b/kernel.py\n@@ -14,4 +14,4 @@\n     def forward(self, x):\n"
    diff += "-        y = torch.empty_like(x)\n+        y = torch.zeros_like(x)\n         lib.twice(x, y, x.numel())\n"
    assert source(fenced(diff, language="diff"), KERNEL) == KERNEL.replace("empty_like", "zeros_like")
    assert "start point" in problem(diff)


@pytest.mark.parametrize(
    "diff",
    [
        "diff --git a/k.py b/k.py\nindex 12ab..34cd 100644\n--- a/k.py\n+++ b/k.py\n@@ -14,4 +14,4 @@ class ModelNew\n"
        "     def forward(self, x):\n-        y = torch.empty_like(x)\n+        y = torch.zeros_like(x)\n"
        "\\ No newline at end of file\n",
        "@@\n    def forward(self, x):\n-        y = torch.empty_like(x)\n+        y = torch.zeros_like(x)\n",
        "-        y = torch.empty_like(x)\n+        y = torch.zeros_like(x)\n",
    ],
)
def test_noise_in_a_diff(diff: str) -> None:
    changed = KERNEL.replace("empty_like", "zeros_like")
    assert source(fenced(diff, language="diff"), KERNEL) == changed
    if "@@" in diff:
        assert source(diff + "\nThis clears the output first.\n", KERNEL) == changed


@pytest.mark.parametrize(("opens", "closes"), [("<<<<<<< ORIGINAL", ">>>>>>> UPDATED"), ("------- SEARCH", "+++++++ REPLACE"),
                                               ("<<<<<<< HEAD", ">>>>>>>")])  # fmt: skip
def test_other_spellings_of_the_markers(opens: str, closes: str) -> None:
    text = edit("        return y", "        return y + 0").replace("<<<<<<< SEARCH", opens).replace(">>>>>>> REPLACE", closes)
    assert source(text, KERNEL) == KERNEL.replace("return y", "return y + 0")


def test_edits_against_an_older_version_apply_to_it() -> None:
    older = KERNEL.replace("2.0f", "3.0f")
    line = "  for (int64_t i = 0; i < n; ++i) y[i] = {}.0f * x[i];"
    text = edit(line.format(3), line.format(4))
    assert "does not match the start point" in problem(text, KERNEL)
    kernel, why, _ = read_answer(text, "cpp", KERNEL, ("class ModelNew: ...", older))
    assert (kernel and kernel.source, why) == (KERNEL.replace("2.0f", "4.0f"), "")
    both = text + edit(line.format(2), "x")
    assert read_answer(both, "cpp", KERNEL, (older,))[0] is None, "all of them or none"
    assert read_answer(text, "cpp", None, (older,))[0] is None, "a draft has nothing to edit"


def test_lone_surrogates_and_nulls_do_not_reach_the_kernel() -> None:
    kernel, _, _ = read_answer(fenced(KERNEL.replace("import torch\n", "import torch  # \ud800\0\n", 1)), "cpp", None)
    assert kernel is not None
    assert len(kernel.kernel_id) == 20


PIECES = st.sampled_from(
    ["```", "```python\n", "~~~\n", "<<<<<<< SEARCH\n", "=======\n", ">>>>>>> REPLACE\n", "class ModelNew", ":\n",
     "    ", "{", '"', "\\", "@@ -1 +1 @@\n", "+x\n", "-y\n", "import torch\n", "'''", "Strategy:", "<think>", "\n", "\r",
     "\0", "\ud800", KERNEL, KERNEL[:200], "(" * 300, "[" * 300, "</think>", "<|channel|>final<|message|>", "<file>",
     "</file>\n", "]]>", "# ... rest unchanged\n", json.dumps({"code": KERNEL}), HELPER, USER, "    ```\n", "-", "+", "@@\n",
     "{'a': ", "<![CDATA[", "from kernels import twice\n", "# kernels.py\n", ">>>>>>>\n", "<<<<<<< HEAD\n"]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.one_of(PIECES, st.text(max_size=20)), max_size=12).map("".join),
    st.sampled_from([None, KERNEL, ""]),
    st.sampled_from([(), (HELPER, KERNEL)]),
)
def test_no_text_makes_it_raise(text: str, start: str | None, older: tuple[str, ...]) -> None:
    kernel, why, strategy = read_answer(text, "triton", start, older)
    assert (kernel is None) == bool(why)
    assert "\n" not in strategy
    if kernel is not None:
        assert "ModelNew" in kernel.source
        assert kernel.kernel_id


@pytest.mark.parametrize(
    "piece",
    ["\n", "\n \n", "<think>", "</think>", "<think></think>", "```\n", "{", "[", "# ... ", "class ModelNew:\n", "-\n+\n",
     "<file>", "`", "```python\nclass ModelNew(\n", "<<<<<<< SEARCH\n", "Strategy", "class ModelNew:\n```\n", "\\"]
)  # fmt: skip
def test_long_rubbish_takes_no_time(piece: str) -> None:
    began = time.process_time()
    read_answer(piece * (200_000 // len(piece)), "cpp", KERNEL, (KERNEL,))
    read_answer(KERNEL + piece * (200_000 // len(piece)), "cpp", KERNEL)
    assert time.process_time() - began < 20
