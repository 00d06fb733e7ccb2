"""A model's forward as an ATen graph in which every fusible group is one submodule.

Needs torch and the standard library alone: exported packages carry this file. Groups are grown over the light operators
(pointwise, reductions, normalisations, views) between the heavy ones (products, convolutions, attention); so norm + residual,
SwiGLU, rope, bias + activation chains and losses each come out as one. Where ``torch.export`` refuses a module, its children
are captured one by one.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn
from torch.fx.passes.infra.partitioner import CapabilityBasedPartitioner, Partition
from torch.fx.passes.operator_support import OperatorSupportBase

_LIGHT = frozenset(
    [
        "mean",
        "sum",
        "amax",
        "amin",
        "softmax",
        "_softmax",
        "log_softmax",
        "_log_softmax",
        "layer_norm",
        "native_layer_norm",
        "rms_norm",
        "var",
        "std",
        "cat",
        "stack",
        "cross_entropy_loss",
        "nll_loss",
        "logsumexp",
        "group_norm",
        "native_group_norm",
        "batch_norm",
        "max_pool2d",
        "avg_pool2d",
        "_to_copy",
        "clone",
        "to",
        "type_as",
        "contiguous",
    ]
)
_VIEWS = frozenset(
    [
        "view",
        "reshape",
        "expand",
        "slice",
        "select",
        "unsqueeze",
        "squeeze",
        "transpose",
        "permute",
        "t",
        "split",
        "chunk",
        "unbind",
        "detach",
        "alias",
        "dropout",
        "flatten",
        "unflatten",
        "split_with_sizes",
        "_unsafe_view",
        "view_as",
        "expand_as",
        "narrow",
        "contiguous",
        "to",
        "type_as",
    ]
)
"""What may return a view of its input: never an output of a group, since a custom operator returns fresh memory."""


class NotCapturable(Exception):
    """``torch.export`` refuses the module; the text is its first line."""


@dataclass(frozen=True)
class Spec:
    """A tensor's shape and dtype (``float32``)."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Group:
    """One kind of fusible group; every occurrence with the same source and inputs is the same task."""

    key: str
    """16 hex digits: hash of the operators, their arguments, and the shapes and dtypes of inputs."""
    name: str
    """``silu_mul_8x512x1376``: its main operators and the shape of its first output."""
    body: str
    """The statements of ``forward``, ATen calls on ``x0, x1, …``."""
    inputs: tuple[Spec, ...]
    outputs: tuple[Spec, ...]
    ops: tuple[str, ...]


@dataclass
class Site:
    """A module whose forward was captured for one set of inputs."""

    path: str
    """Name in the model, empty for the model itself."""
    module: nn.Module
    graph: fx.GraphModule
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    groups: dict[str, Group] = field(default_factory=dict)
    """Submodule of ``graph`` -> its group."""


def opname(node: fx.Node) -> str:
    """``silu`` for a call of ``aten.silu.default``; empty for what is no ATen call."""
    target = node.target
    if node.op == "call_function" and isinstance(target, torch._ops.OpOverload) and target.namespace == "aten":
        return str(target._schema.name).partition("::")[2]
    return ""


def capture(model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[list[Site], list[str]]:
    """The captured sites of ``model``, and notes on what was not captured and why.

    Args:
        args, kwargs: real inputs; the model is called with them where its modules are captured one by one.
    """
    try:
        return [_site("", model, tuple(args), dict(kwargs))], []
    except NotCapturable as error:
        notes = [f"the model as a whole cannot be exported ({error}); its modules are captured one by one"]
    sites: list[Site] = []
    calls = _calls(model, args, kwargs)
    done: list[str] = []
    for path, module in model.named_modules():
        if not path or path not in calls or any(path.startswith(f"{d}.") for d in done):
            continue
        try:
            sites.append(_site(path, module, *calls[path]))
            done.append(path)
        except NotCapturable as error:
            if not list(module.children()):
                notes.append(f"{path}: not captured ({error})")
    return sites, notes


def _calls(model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Module path -> the arguments of its first call."""
    calls: dict[str, tuple[Any, Any]] = {}
    hooks = []
    for path, module in model.named_modules():

        def note(_: nn.Module, a: Any, k: Any, path: str = path) -> None:
            calls.setdefault(path, (tuple(a), dict(k)))

        hooks.append(module.register_forward_pre_hook(note, with_kwargs=True))
    try:
        with torch.set_grad_enabled(model.training):
            model(*args, **kwargs)
    finally:
        for hook in hooks:
            hook.remove()
    return calls


def _site(path: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Site:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch about its own parts: where they are errors, nothing would be exported
            program = torch.export.export(module, args, kwargs, strict=False)
            if any(_mutates(node) for node in program.graph.nodes):
                program = program.run_decompositions({})
            graph = program.module()
    except Exception as error:  # noqa: BLE001  export raises whatever the model's code does
        lines = str(error).strip().splitlines()
        raise NotCapturable(f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]) from error
    if not isinstance(graph, fx.GraphModule):
        raise NotCapturable("torch.export gave no graph")
    for node in list(graph.graph.nodes):
        if node.op == "call_module" and not node.users:  # export's own input guards: ours are checked before
            graph.graph.erase_node(node)
    _apart(graph.graph)
    graph.recompile()
    return _partitioned(Site(path, module, graph, args, kwargs))


def _apart(graph: fx.Graph) -> None:
    """Let what reads a buffer that the graph writes (a batch norm's statistics) read a copy: autograd keeps what was read."""
    writes = [n for n in graph.nodes if n.target is torch.ops.aten.copy_.default and n.args[0].op == "get_attr"]
    written = {node.args[0].target for node in writes}
    for node in list(graph.nodes):
        readers = [user for user in node.users if user not in writes or user.args[0] is not node]
        if node.op == "get_attr" and node.target in written and readers:
            with graph.inserting_after(node):
                kept = graph.call_function(torch.ops.aten.clone.default, (node,))
            kept.meta = dict(node.meta)
            for reader in readers:
                reader.replace_input_with(node, kept)


def _mutates(node: fx.Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable


def _value(node: fx.Node) -> Any:
    return node.meta.get("val")


class _Support(OperatorSupportBase):
    """Light operators on tensors of one device, but for those in ``left``."""

    def __init__(self, left: set[str]) -> None:
        self._left = left

    def is_node_supported(self, submodules: Mapping[str, nn.Module], node: fx.Node) -> bool:
        name, value = opname(node), _value(node)
        if not name or node.name in self._left or not isinstance(value, torch.Tensor) or _mutates(node):
            return False
        if not _static(value) or value.dtype.is_complex or not node.all_input_nodes:
            return False
        if any(not _static(_value(n)) for n in node.all_input_nodes):
            return False
        if name == "batch_norm" and node.args[5]:
            return False
        if name in ("clone", "contiguous") and all(_opaque(n) for n in node.all_input_nodes):
            return False
        pointwise = torch.Tag.pointwise in node.target.tags  # type: ignore[union-attr]
        random = torch.Tag.nondeterministic_seeded in node.target.tags and name != "dropout"  # type: ignore[union-attr]
        return (pointwise or name in _LIGHT or name in _VIEWS) and not random


def _static(value: Any) -> bool:
    """Whether ``value`` is a tensor with elements, whose shape does not follow from data."""
    return isinstance(value, torch.Tensor) and all(isinstance(size, int) and size for size in value.shape)


def _opaque(node: fx.Node) -> bool:
    return node.op != "call_function" or not opname(node)


def _partitioned(site: Site) -> Site:
    graph, left = site.graph, set[str]()
    while True:
        partitioner = CapabilityBasedPartitioner(graph, _Support(left), allows_single_node_partition=True)
        partitions = _connected(partitioner.propose_partitions())
        escaping: set[str] = set()
        for partition in partitions:
            nodes = set(partition.nodes)
            for node in nodes:
                if opname(node) in _VIEWS and any(user not in nodes for user in node.users):
                    escaping.add(node.name)
            if all(opname(node) in _VIEWS or opname(node) in ("clone", "cat", "stack", "_to_copy") for node in nodes):
                escaping |= {node.name for node in nodes}
        if not escaping - left:
            break
        left |= escaping
    fused = partitioner.fuse_partitions(partitions, prefix="kwgroup_")
    for name, part in fused.named_children():
        if name.startswith("kwgroup_") and isinstance(part, fx.GraphModule):
            group = describe(part)
            if group is not None:
                site.groups[name] = group
    site.graph = fused
    return site


def _connected(partitions: Sequence[Partition]) -> list[Partition]:
    """The partitions' connected components: work that shares nothing is no group."""
    found: list[Partition] = []
    for partition in partitions:
        rest = dict.fromkeys(partition.nodes)
        while rest:
            component, pending = dict[fx.Node, None](), [next(iter(rest))]
            while pending:
                node = pending.pop()
                if node in rest:
                    del rest[node]
                    component[node] = None
                    pending += [*node.all_input_nodes, *node.users]
            found.append(Partition(id=len(found), nodes=sorted(component)))  # in the graph's order: keys must be repeatable
    return sorted(found, key=lambda p: next(iter(p.nodes)))


def describe(part: fx.GraphModule) -> Group | None:
    """The group that ``part`` is; None where its arguments cannot be written down."""
    names: dict[str, str] = {}
    lines: list[str] = []
    inputs: list[Spec] = []
    outputs: tuple[Spec, ...] = ()
    ops: list[str] = []
    for node in part.graph.nodes:
        if node.op == "placeholder":
            names[node.name] = f"x{len(inputs)}"
            inputs.append(_spec(_value(node)))
        elif node.op == "output":
            results = node.args[0] if isinstance(node.args[0], (tuple, list)) else (node.args[0],)
            outputs = tuple(_spec(_value(r)) for r in results)
            text = ", ".join(names[r.name] for r in results)
            lines.append(f"return {text}")
        elif node.op == "call_function" and opname(node):
            names[node.name] = f"v{len(names)}"
            given = [_text(a, names) for a in node.args]
            given += [f"{k}={_text(v, names)}" for k, v in node.kwargs.items() if k != "device"]
            if "?" in "".join(given):
                return None
            lines.append(f"{names[node.name]} = torch.ops.{node.target}({', '.join(given)})")
            if opname(node) not in _VIEWS:
                ops.append(opname(node))
        else:
            return None
    body = "\n".join(lines)
    key = hashlib.sha256(repr((body, inputs)).encode()).hexdigest()[:16]
    shape = "x".join(map(str, outputs[0].shape)) or "scalar"
    short = "_".join(dict.fromkeys(op.strip("_") for op in ops))[:48].strip("_")
    return Group(key, f"{short}_{shape}", body, tuple(inputs), outputs, tuple(ops))


def _spec(value: Any) -> Spec:
    return Spec(tuple(int(s) for s in value.shape), str(value.dtype).removeprefix("torch."))


def _text(value: Any, names: Mapping[str, str]) -> str:
    """``value`` as Python; a ``?`` in it says that there is no way."""
    if isinstance(value, fx.Node):
        return names.get(value.name, "?")
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_text(v, names) for v in value)}]"
    if isinstance(value, float):
        return repr(value) if value - value == 0 else f"float('{value}')"
    if value is None or isinstance(value, (bool, int, torch.dtype)):
        return repr(value)
    if isinstance(value, torch.memory_format):
        return str(value)
    return repr(value) if isinstance(value, str) else "?"


def slots(site: Site) -> Iterator[tuple[str, Group, fx.GraphModule]]:
    """Every occurrence of a group: submodule, group, the original graph."""
    for name, group in site.groups.items():
        yield name, group, site.graph.get_submodule(name)  # type: ignore[misc]
