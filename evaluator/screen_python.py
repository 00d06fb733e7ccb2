"""The screen's walk over a Python tree: names are followed through aliases and scopes, then looked up in the tables."""

from __future__ import annotations

import ast
import functools
from dataclasses import dataclass

from kernelwright.evaluator import screen_rules as rules
from kernelwright.evaluator.names import IMPORTERS, Names, text
from kernelwright.evaluator.syntax import parse

_WRITE_MODES = frozenset("wax+")
_EDITS = frozenset({"update", "setdefault", "pop", "popitem", "clear", "__setitem__", "__delitem__"})
_DYNAMIC = frozenset({"builtins.exec", "builtins.eval", "builtins.compile"})
_SETTERS = frozenset({"builtins.setattr", "builtins.delattr", "builtins.object.__setattr__", "builtins.type.__setattr__"})
_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


@dataclass(frozen=True)
class Finding:
    """One thing seen in a kernel's text or behaviour."""

    tier: str
    """``reject``, ``flag`` or ``record``."""
    rule: str
    line: int
    """In the kernel's Python source; 0 when it belongs to no line."""
    detail: str


class PythonScreen(ast.NodeVisitor):
    """Walks a tree once and collects findings."""

    def __init__(self, tree: ast.Module, backend: str = "") -> None:
        self.tree = tree
        self._backend = backend
        self._attributes = rules.attributes(backend)
        self.findings: list[Finding] = []
        self.names = Names(tree.body)
        self._functions: list[str] = []

    def run(self) -> list[Finding]:
        """All findings, unordered."""
        for statement in self.tree.body:
            self.visit(statement)
        return self.findings

    def _visit_function(self, node: _Function) -> None:
        for outside in [
            *getattr(node, "decorator_list", ()),
            *node.args.defaults,
            *filter(None, node.args.kw_defaults),
        ]:
            self.visit(outside)
        arguments = node.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        name = getattr(node, "name", "<lambda>")
        if name in rules.BAD_ATTRIBUTES:
            self._add(rules.REJECT, rules.BAD_ATTRIBUTES[name], node, f"defines {name}")
        self._functions.append(name)
        body: list[ast.stmt] = [ast.Expr(node.body)] if isinstance(node, ast.Lambda) else node.body
        self.names.enter(body, tuple(a.arg for a in every if a))
        for statement in body:
            self.visit(statement)
        self.names.leave()
        self._functions.pop()

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._visit_function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._visit_function(node)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._visit_function(node)

    def _visit_comprehension(self, node: _Comprehension) -> None:
        self.names.enter((), [n.id for g in node.generators for n in ast.walk(g.target) if isinstance(n, ast.Name)])
        self.generic_visit(node)
        self.names.leave()

    def visit_ListComp(self, node: ast.ListComp) -> None:
        self._visit_comprehension(node)

    def visit_SetComp(self, node: ast.SetComp) -> None:
        self._visit_comprehension(node)

    def visit_DictComp(self, node: ast.DictComp) -> None:
        self._visit_comprehension(node)

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> None:
        self._visit_comprehension(node)

    # -- statements -----------------------------------------------------------------------------------------------

    def visit_Import(self, node: ast.Import) -> None:
        for name in node.names:
            self._imported(name.name, node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = "." * node.level + (node.module or "")
        for name in node.names:
            self._imported(base if name.name == "*" else f"{base}.{name.name}", node, star=name.name == "*")

    def _imported(self, path: str, node: ast.AST, star: bool = False) -> None:
        """An import alone proves nothing (what is used does), but the reference and the harness have no other use."""
        tier, rule = _look_up(path, self._backend)
        if path.split(".")[-1] == "Model" or path.startswith("."):
            tier, rule = rules.REJECT, "reference"
        if tier == rules.REJECT and rule not in ("reference", "harness") and not star:
            tier = rules.FLAG
        if tier in (rules.REJECT, rules.FLAG) and path not in rules.PARENTS:
            self._add(tier, rule, node, f"imports {path}")

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for base in node.bases:
            path = self.names.path(base)
            if path in rules.TENSOR_BASES:
                self._add(rules.REJECT, "tensor_subclass", node, f"class {node.name}({path})")
        self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):  # a docstring says nothing
            self.visit(node.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            self._stored(target, node.value)
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._stored(node.target, None)
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._stored(node.target, node.value)
        self.generic_visit(node)

    def visit_Delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            self._stored(target, None)
        self.generic_visit(node)

    def visit_For(self, node: ast.For) -> None:
        self._stored(node.target, None)
        self.generic_visit(node)

    def visit_withitem(self, node: ast.withitem) -> None:
        if node.optional_vars is not None:
            self._stored(node.optional_vars, None)
        self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> None:
        raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        if raised is not None and self.names.path(raised) in ("builtins.SystemExit", "builtins.KeyboardInterrupt"):
            self._add(rules.REJECT, "exit", node, f"raises {ast.unparse(raised)}")
        self.generic_visit(node)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        calls = (self.names.path(c.func) for statement in node.body for c in ast.walk(statement) if isinstance(c, ast.Call))
        used = next(
            (path for path in calls if path.startswith(("torch.nn.functional.", "torch.ops.")) or _is_torch_function(path)),
            "",
        )
        if used and self._functions:
            self._add(rules.FLAG, "fallback", node, f"calls {used} in an except block")
        self.generic_visit(node)

    def _stored(self, target: ast.expr, value: ast.expr | None) -> None:
        """Somewhere a value is put: plain names, ``self`` and local objects are nobody's business."""
        if isinstance(target, (ast.Tuple, ast.List)):
            for element in target.elts:
                self._stored(element, None)
        elif isinstance(target, ast.Starred):
            self._stored(target.value, None)
        elif isinstance(target, ast.Subscript):
            base = self.names.path(target.value)
            if base == "os.environ":
                self._add(rules.REJECT, "environment", target, "edits os.environ")
            elif base == "sys.modules" or base.endswith(".__dict__"):
                self._add(rules.REJECT, "patching", target, f"edits {base}")
        elif isinstance(target, ast.Attribute):
            self._stored_attribute(target, value)

    def _stored_attribute(self, target: ast.Attribute, value: ast.expr | None) -> None:
        base = self.names.path(target.value)
        if base:
            switch = base.startswith(("torch.backends", "torch._dynamo.config", "torch._inductor.config", "triton.knobs"))
            self._add(rules.REJECT, "global_switch" if switch else "patching", target, f"assigns {base}.{target.attr}")
        elif target.attr in rules.BAD_STORES:
            self._add(rules.REJECT, "patching", target, f"assigns .{target.attr}")
        elif self._functions and isinstance(target.value, ast.Name) and target.value.id not in ("self", "cls", "ctx"):
            if isinstance(value, ast.Lambda):
                self._add(rules.FLAG, "instance_override", target, f"puts a function on {target.value.id}.{target.attr}")
        elif self._functions[-1:] == ["forward"] and isinstance(target.value, ast.Name) and target.value.id == "self":
            self._add(rules.RECORD, "state", target, f"assigns self.{target.attr}")

    # -- expressions ----------------------------------------------------------------------------------------------

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self._used(self.names.path(node), node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        path = self.names.path(node)
        if isinstance(node.ctx, ast.Load):
            if node.attr in self._attributes:
                self._add(rules.REJECT, self._attributes[node.attr], node, f"uses .{node.attr}")
            elif node.attr in rules.FLAG_ATTRIBUTES and not path:  # torch.bfloat16 is a dtype, x.bfloat16 a cast
                tier, rule = rules.FLAG_ATTRIBUTES[node.attr]
                self._add(tier, rule, node, f"uses .{node.attr}")
        if path and isinstance(node.ctx, ast.Load):
            self._used(path, node)
            if not isinstance(node.value, (ast.Name, ast.Attribute)):
                self.visit(node.value)
        elif not path:
            self.visit(node.value)

    def visit_Call(self, node: ast.Call) -> None:
        path = self.names.path(node.func)
        self._called(path, node)
        if path == "builtins.getattr" and (reached := self.names.path(node)):
            self._used(reached, node)
        if path == "kernelwright.evaluator.native.load":
            return  # its source is read as C++, where comments count for nothing
        self._visit_parts(node, skip_function=path in _DYNAMIC | IMPORTERS)

    def _visit_parts(self, node: ast.Call, skip_function: bool) -> None:
        if not skip_function:
            self.visit(node.func)
        for part in [*node.args, *node.keywords]:
            self.visit(part)

    def visit_keyword(self, node: ast.keyword) -> None:
        value = node.value.value if isinstance(node.value, ast.Constant) else None
        if (node.arg == "allow_tf32" and value is True) or (node.arg == "input_precision" and value == "tf32"):
            self._add(rules.RECORD, "precision", node.value, f"{node.arg}={value!r}")
        self.visit(node.value)

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, str) and "\n" not in value and (value == "/proc" or "/proc/" in value):
            self._add(rules.REJECT, "proc", node, f"names {node.value!r:.60}")

    def _used(self, path: str, node: ast.AST) -> None:
        if not path:
            return
        tier, rule = _look_up(path, self._backend)
        if tier == rules.REJECT and path in rules.PARENTS:
            return
        if tier in (rules.REJECT, rules.FLAG):
            self._add(tier, rule, node, f"uses {path}")
        if path in rules.HEAVY_NUMPY or path.rpartition(".")[0] in rules.HEAVY_NUMPY:
            inside = self._functions and "__init__" not in self._functions
            self._add(rules.REJECT if inside else rules.RECORD, "library", node, f"uses {path} on arrays")

    def _called(self, path: str, node: ast.Call) -> None:
        first = node.args[0] if node.args else None
        if path in _DYNAMIC:
            self._dynamic(path, node)
        elif path in IMPORTERS:
            name = text(first)
            if not name:
                self._add(rules.REJECT, "dynamic_code", node, f"{path} of a name made at run time")
            else:
                self._imported(name, node)
        elif path in _SETTERS and first is not None and (target := self.names.path(first)):
            self._add(rules.REJECT, "patching", node, f"{path.removeprefix('builtins.')} on {target}")
        elif path.rpartition(".")[2] in _EDITS and path.rpartition(".")[0].endswith(("sys.modules", ".__dict__")):
            self._add(rules.REJECT, "patching", node, f"calls {path}")
        elif path in ("builtins.open", "io.open"):
            self._opened(node, node.args[1:2])
        elif isinstance(node.func, ast.Attribute) and not path:
            self._method(node, node.func)

    def _method(self, node: ast.Call, function: ast.Attribute) -> None:
        if function.attr == "open":
            mode = text(node.args[0]) if node.args else ""
            if mode and set(mode) <= set("rbtwax+") and set(mode) & _WRITE_MODES:
                self._add(rules.REJECT, "files", node, f"opens a file with mode {mode!r}")
        elif function.attr == "numpy" and not node.args:
            self._add(rules.FLAG, "library", node, "leaves torch by .numpy()")

    def _opened(self, node: ast.Call, positional: list[ast.expr]) -> None:
        given = positional or [k.value for k in node.keywords if k.arg == "mode"]
        mode = text(given[0]) if given else "r"
        if mode and not set(mode) & _WRITE_MODES:
            self._add(rules.FLAG, "files", node, "reads a file")
        else:
            self._add(rules.REJECT, "files", node, f"opens a file with mode {mode or ast.unparse(given[0])!r}")

    def _dynamic(self, path: str, node: ast.Call) -> None:
        """Code in a literal is read like the rest; code made at run time is not readable and is refused."""
        literal = text(node.args[0]) if node.args else ""
        try:
            inner = parse(literal) if literal else None
        except SyntaxError:
            inner = None
        name = path.removeprefix("builtins.")
        if inner is None:
            self._add(rules.REJECT, "dynamic_code", node, f"{name} of a text made at run time")
            return
        self._add(rules.FLAG, "dynamic_code", node, f"{name} of a literal")
        nested = PythonScreen(inner)
        self.findings.extend(Finding(f.tier, f.rule, node.lineno, f"{f.detail} (inside {name})") for f in nested.run())

    def _add(self, tier: str, rule: str, node: ast.AST, what: str) -> None:
        self.findings.append(Finding(tier, rule, getattr(node, "lineno", 0), f"{what}: {rules.WHY[rule]}"))


@functools.lru_cache(maxsize=4096)
def _look_up(path: str, backend: str) -> tuple[str, str]:
    """Tier and rule of the longest prefix of ``path`` that the backend's table knows."""
    if path.startswith(rules.SWITCH_PREFIXES):
        return rules.REJECT, "global_switch"
    if path.startswith("torch.backends.") and path.rpartition(".")[2].startswith(("enable_", "preferred_")):
        return rules.REJECT, "global_switch"  # functions that set; reading `….matmul.allow_tf32` stays free
    table, prefix = rules.table(backend), path
    while prefix:
        if prefix in table:
            return table[prefix]
        prefix = prefix.rpartition(".")[0]
    return "", ""


def _is_torch_function(path: str) -> bool:
    return path in (f"torch.{name}" for name in ("matmul", "mm", "bmm", "softmax", "conv2d", "addmm", "einsum", "sum", "mean"))
