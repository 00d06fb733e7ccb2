"""Is a kernel new? The same one under another spelling is not judged twice.

Two kernels are the same when their identity is, or when their syntax trees are once everything is taken away that cannot
change what they do: comments, docstrings, formatting, white space and comments inside native C++, and the names of local
variables. Wherever a name or a text might be looked at by the program itself (``locals()``, ``inspect``, an autotuner's
``key=["n"]``), it counts as a difference: a kernel judged twice costs seconds, a new one never judged is lost.

What this does not see: the same kernel with statements reordered, a function renamed, or a C++ variable renamed is new.
"""

from __future__ import annotations

import ast
import builtins
import functools
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import replace

from kernelwright.tasks.records import Attempt, Kernel, Verdict, digest

_LOOKING = frozenset(
    {"locals", "vars", "globals", "dir", "eval", "exec", "inspect", "getattr", "setattr", "__doc__", "__dict__", "__code__"}
)
"""A module that mentions one of these may look at its own names and docstrings: neither is touched."""
_NATIVE = frozenset({"ascend", "cpp", "cuda", "cpp_sources", "cuda_sources"})
"""Keywords under which native source is handed over."""
_BUILTINS = frozenset(dir(builtins))
_TOKEN = re.compile(
    r"//(?:\\\n|[^\n])*|/\*.*?(?:\*/|\Z)"  # comments
    r'|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''  # literals
    r"|\.?\d(?:[eEpP][+-]|'(?=\w)|[\w.])*|\w+"  # numbers and names
    r"|<<<|>>>|<<=|>>=|<=>|\.\.\.|->\*|::|->|\+\+|--|&&|\|\||##|[-+*/%&|^=!<>]=|<<|>>|\.\*|[^\s\w]",
    re.DOTALL,
)
_LONGEST, _LONGEST_LINE = 300_000, 2_000
"""Characters of native code, and of a line of it, that are normalised: longer is generated or rubbish."""
_STRINGIFIED = re.compile(r"^[ \t]*#[ \t]*define\b[^\n]*[^#\n]#[ \t]*[A-Za-z_]", re.MULTILINE)

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def duplicate(kernel: Kernel, attempts: Iterable[Attempt]) -> Attempt | None:
    """The first of ``attempts`` (judged, in order of number) that has the same kernel; None for a new one."""
    known = [a for a in attempts if a.answer.kernel is not None and a.verdict is not None]
    mine = fingerprint(kernel)
    return next((a for a in known if a.answer.kernel is not None and fingerprint(a.answer.kernel) == mine), None)


def again(kernel: Kernel, earlier: Attempt) -> Verdict:
    """The verdict on ``earlier`` as that on ``kernel``, which is the same."""
    verdict = earlier.verdict
    assert verdict is not None, "duplicate() gives judged attempts"
    same = "is" if earlier.answer.kernel == kernel else "is, but for names, comments and layout,"
    reason = f"not judged again: it {same} the kernel of attempt {earlier.idea.number}: {verdict.reason}"
    evidence = {**verdict.evidence, "duplicate_of": earlier.id}
    return replace(verdict, kernel_id=kernel.kernel_id, reason=reason, evidence=evidence, seconds=0.0)


def fingerprint(kernel: Kernel) -> str:
    """Equal for kernels that are the same; one that does not parse is the same as itself only."""
    form = _normal_form(kernel.source)
    if form is None:
        return kernel.kernel_id
    return digest(form, kernel.backend, *[f"{k}={v}" for k, v in sorted(kernel.options.items())])


@functools.lru_cache(maxsize=256)
def _normal_form(source: str) -> str | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # escapes in native code
        try:
            tree = ast.parse(source)
            _normalise(tree)
            return ast.dump(tree)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def _normalise(tree: ast.Module) -> None:
    nodes = list(ast.walk(tree))
    mentioned = {name for node in nodes for name in _mentioned(node)}
    texts = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    _squeeze_native(tree, nodes)
    if mentioned & _LOOKING:
        return
    for node in nodes:
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            _drop_docstring(node)
    keywords = {node.arg for node in nodes if isinstance(node, ast.keyword) and node.arg is not None}
    fixed = _BUILTINS | texts | keywords | _of_module(tree)
    for function in _outermost(tree):
        _rename(function, fixed)


def _mentioned(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Name):
        yield node.id
    elif isinstance(node, ast.Attribute):
        yield node.attr
    elif isinstance(node, ast.alias):
        yield node.name.split(".")[0]


def _drop_docstring(node: ast.Module | ast.ClassDef | _Function) -> None:
    first = node.body[0] if node.body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        node.body = node.body[1:] or [ast.Pass()]


def _of_module(tree: ast.Module) -> set[str]:
    """Names that are, or may be, the module's or a class's: everything bound outside functions, and imported anywhere."""
    found: set[str] = set()
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        found |= _bound(node)
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            todo += ast.iter_child_nodes(node)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            found |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, (ast.Global, ast.Nonlocal)):
            found |= set(node.names)
    return found


def _bound(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        return {node.id}
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return {node.name}
    if isinstance(node, ast.arg):
        return {node.arg}
    if isinstance(node, ast.ExceptHandler) and node.name:
        return {node.name}
    return set()


def _outermost(node: ast.AST) -> Iterator[_Function]:
    """Functions that lie in no other function."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield child
        else:
            yield from _outermost(child)


def _rename(function: _Function, fixed: set[str] | frozenset[str]) -> None:
    """Number the local names of ``function`` in order of appearance, the same spelling alike in all that it encloses.

    A function with a class or a pattern match inside is left as it is: their names are seen from outside, or not walked.
    """
    inner = list(ast.walk(function))[1:]
    if any(isinstance(node, (ast.ClassDef, ast.match_case)) for node in inner):
        return
    local = {name for node in inner for name in _bound(node)} - fixed
    numbers: dict[str, str] = {}

    def new(name: str) -> str:
        if name not in local or name.startswith("__"):
            return name
        return numbers.setdefault(name, f"${len(numbers)}")

    for node in inner:
        if isinstance(node, ast.Name):
            node.id = new(node.id)
        elif isinstance(node, ast.arg):
            node.arg = new(node.arg)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ExceptHandler)) and node.name:
            node.name = new(node.name)


def _squeeze_native(tree: ast.Module, nodes: list[ast.AST]) -> None:
    """Take comments and layout out of the texts that are handed over as native source, by keyword or by a module's name."""
    handed = [k.value for node in nodes if isinstance(node, ast.Call) for k in node.keywords if k.arg in _NATIVE]
    flat = [v for value in handed for v in (value.elts if isinstance(value, (ast.List, ast.Tuple)) else [value])]
    named = {value.id for value in flat if isinstance(value, ast.Name)}
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and any(isinstance(t, ast.Name) and t.id in named for t in statement.targets):
            flat.append(statement.value)
    for value in flat:
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            value.value = squeezed(value.value)


def squeezed(source: str) -> str:
    """C++ as its tokens, one line between preprocessor directives; as it is where layout could change its meaning."""
    if len(source) > _LONGEST or max(map(len, source.split("\n"))) > _LONGEST_LINE:
        return source
    if any(sign in source for sign in ('R"', "__LINE__", "??")) or _STRINGIFIED.search(source):
        return source
    lines = [""]
    for line in _without_comments(source.replace("\\\n", "")).split("\n"):
        if line.lstrip().startswith("#"):
            lines += [_directive(line), ""]
        else:
            lines[-1] = " ".join([*filter(None, lines[-1:]), *(m.group() for m in _TOKEN.finditer(line))])
    return "\n".join(filter(None, lines))


def _without_comments(source: str) -> str:
    def kept(found: re.Match[str]) -> str:
        text = found.group()
        return " " if text.startswith(("//", "/*")) else text

    return _TOKEN.sub(kept, source)


def _directive(line: str) -> str:
    """A directive with single spaces where it has any: ``F(x)`` and ``F (x)`` define different things."""
    parts, end = [""], 0
    for found in _TOKEN.finditer(line):
        parts += [" " if found.start() > end and end else "", found.group()]
        end = found.end()
    return "".join(parts)
