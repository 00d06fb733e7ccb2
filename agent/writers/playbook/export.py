"""The reference's ATen graph as JSON: ``python -m kernelwright.agent.writers.playbook.export < request > answer``.

Runs in a child process, since it executes the (trusted) reference and imports torch. The request is
``{"variants": [[source, …], …], "own": int, "training": bool, "seconds": float}``: of each list the first source that exports
counts; the first ``own`` lists are of the task's own shapes, and so are the graphs with ``"own": true``. The
answer is ``{"graphs": [graph, …], "problem": ""}``, in the order of the lists, those that failed left out (the first
must not fail).
Tensors are fake (no memory, no arithmetic) unless the reference needs real ones.
"""

from __future__ import annotations

import functools
import json
import math
import sys
import time
import types
import warnings
from typing import Any

KEEP = (
    "linear", "matmul", "instance_norm", "scaled_dot_product_attention", "upsample_bilinear2d.vec", "upsample_nearest2d.vec",
    "upsample_nearest1d.vec", "upsample_linear1d.vec", "upsample_nearest3d.vec", "layer_norm", "rms_norm",
    "adaptive_avg_pool2d", "softmax.int", "log_softmax.int", "group_norm", "gelu", "logsumexp", "tril", "triu",
    "index_select", "masked_fill.Scalar", "cumprod", "mish", "silu", "hardswish", "leaky_relu", "elu",
    "softplus", "log_sigmoid", "hardtanh", "hardsigmoid", "silu_backward",
)  # fmt: skip
"""ATen operators with a template of their own: exported as they are, not decomposed."""
DATA_LIMIT = 4096
"""Elements that a constant tensor of the graph may have."""


def encode(value: Any) -> Any:
    """An FX argument as JSON: nodes by name, dtypes and other objects as text, non-finite floats as text."""
    import torch
    from torch.fx import Node

    if isinstance(value, Node):
        return {"node": value.name}
    if isinstance(value, (list, tuple)):
        return [encode(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, torch.dtype):
        return {"dtype": str(value).removeprefix("torch.")}
    return {"text": str(value)}


def _meta(value: Any) -> Any:
    """Shape and dtype of a node's result; a list for several results."""
    import torch

    if isinstance(value, torch.Tensor):
        return {"shape": [_size(s) for s in value.shape], "dtype": str(value.dtype).removeprefix("torch.")}
    if isinstance(value, (list, tuple)):
        return [_meta(v) for v in value]
    return None


def _size(value: Any) -> int | None:
    """A size; None where only data tells it (the bins of ``bincount``)."""
    from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

    try:
        return int(value)
    except GuardOnDataDependentSymNode:
        return None


def _needed(program: Any) -> set[Any]:
    """Nodes that an output follows from: assertions about sizes that depend on data are none of them."""
    todo = [n for n in program.graph.nodes if n.op == "output"]
    found = set(todo)
    while todo:
        more = [n for n in todo.pop().all_input_nodes if n not in found]
        found.update(more)
        todo += more
    return found


def _arguments(node: Any) -> dict[str, Any]:
    """All arguments of a call by the schema's names, defaults filled in."""
    given: dict[str, Any] = {}
    for i, argument in enumerate(node.target._schema.arguments):
        if i < len(node.args):
            given[argument.name] = encode(node.args[i])
        elif argument.name in node.kwargs:
            given[argument.name] = encode(node.kwargs[argument.name])
        else:
            given[argument.name] = encode(argument.default_value) if argument.has_default_value() else None
    return given


def _leaves(value: Any, source: str) -> list[tuple[str, Any]]:
    """(Python expression, leaf) of a tree of inputs, in pytree order."""
    if isinstance(value, (list, tuple)):
        return [leaf for i, v in enumerate(value) for leaf in _leaves(v, f"{source}[{i}]")]
    if isinstance(value, dict):
        return [leaf for k in value for leaf in _leaves(value[k], f"{source}[{k!r}]")]
    return [(source, value)]


def _attributes(model: Any) -> dict[str, Any]:
    """Numbers that modules hold as attributes: path -> value, tuples by element."""
    found: dict[str, Any] = {}
    for prefix, module in model.named_modules():
        base = _path(prefix) if prefix else "self"
        for name, value in vars(module).items():
            if name.startswith("_") or name == "training":
                continue
            items = [(name, value)]
            if isinstance(value, (tuple, list)):
                items = [(f"{name}[{i}]", v) for i, v in enumerate(value)]
            for key, item in items:
                if type(item) is int or (type(item) is float and math.isfinite(item)):
                    found[f"{base}.{key}"] = item
    return found


def _path(target: str) -> str:
    """``layers.0.weight`` as ``self.layers[0].weight``."""
    parts = "".join(f"[{p}]" if p.isdigit() else f".{p}" for p in target.split("."))
    return f"self{parts}"


def _placeholders(program: Any, arguments: list[tuple[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Tensors (with the Python expression each comes from, or data) and scalars of the graph's inputs."""
    from torch.export.graph_signature import ConstantArgument, InputKind

    tensors: list[dict[str, Any]] = []
    scalars: list[dict[str, Any]] = []
    metas = {n.name: n.meta.get("val") for n in program.graph.nodes if n.op == "placeholder"}
    user = iter(arguments)
    for spec in program.graph_signature.input_specs:
        name = spec.arg.name
        if spec.kind is InputKind.USER_INPUT:
            source, leaf = next(user)
            if isinstance(spec.arg, ConstantArgument):
                scalars.append({"node": name, "source": source, "value": encode(leaf)})
                continue
            entry = {"role": "input", "source": source}
        elif spec.kind is InputKind.CONSTANT_TENSOR and spec.target not in _state_names(program):
            entry = _constant(program.constants[spec.target])
        else:
            entry = {"role": "param", "source": _path(spec.target)}
        tensors.append({"node": name, **entry, **(_meta(metas[name]) or {})})
    return tensors, scalars


def _state_names(program: Any) -> set[str]:
    """Constants of the export that are attributes of the module itself (non-persistent buffers, plain tensors)."""
    return {name for name in program.constants if not name.split(".")[-1].startswith("lifted_tensor")}


def _constant(tensor: Any) -> dict[str, Any]:
    from torch._subclasses.fake_tensor import FakeTensor

    if isinstance(tensor, FakeTensor) or tensor.numel() > DATA_LIMIT:
        return {"role": "const", "source": "", "data": None}
    return {"role": "const", "source": "", "data": [encode(v) for v in tensor.detach().flatten().tolist()]}


def _tree(value: Any) -> Any:
    """A tree of outputs as JSON."""
    if isinstance(value, dict):
        return {"dict": [[str(k), _tree(v)] for k, v in value.items()]}
    if isinstance(value, tuple):
        return {"tuple": [_tree(v) for v in value]}
    if isinstance(value, list):
        return {"list": [_tree(v) for v in value]}
    return value.leaf if isinstance(value, _Leaf) else encode(value)


class _Leaf:
    """Stands for one output while the tree is put together."""

    def __init__(self, leaf: Any) -> None:
        self.leaf = leaf


def _result(program: Any) -> Any:
    from torch.utils import _pytree as pytree

    signature = program.graph_signature
    skip = sum(spec.kind.name not in ("USER_OUTPUT",) for spec in signature.output_specs)
    output = next(n for n in program.graph.nodes if n.op == "output")
    leaves = [_Leaf(encode(v)) for v in output.args[0][skip:]]
    return _tree(pytree.tree_unflatten(leaves, program.call_spec.out_spec))


def describe(program: Any, model: Any, arguments: list[tuple[str, Any]]) -> dict[str, Any]:
    """The JSON of one exported program."""
    tensors, scalars = _placeholders(program, arguments)
    nodes, needed = [], _needed(program)
    for node in program.graph.nodes:
        if node.op != "call_function" or node not in needed:
            continue
        target = node.target
        if getattr(target, "__name__", "") == "getitem":
            nodes.append({"name": node.name, "op": "getitem", "args": {"self": encode(node.args[0]), "index": node.args[1]}})
        elif hasattr(target, "_schema"):
            nodes.append({"name": node.name, "op": str(target), "args": _arguments(node)})
        else:
            nodes.append({"name": node.name, "op": str(target), "args": {}})
        nodes[-1]["out"] = _meta(node.meta.get("val"))
    mutated = [s.target for s in program.graph_signature.output_specs if s.kind.name != "USER_OUTPUT"]
    return {
        "tensors": tensors,
        "scalars": scalars,
        "nodes": nodes,
        "result": _result(program),
        "attributes": _attributes(model),
        "mutated": [str(m) for m in mutated],
    }


def _table() -> Any:
    """Decompositions to the core of ATen, without those of :data:`KEEP`."""
    import torch

    table = torch.export.default_decompositions()
    for name in KEEP:
        packet, _, overload = name.partition(".")
        operator = getattr(getattr(torch.ops.aten, packet), overload or "default", None)
        if operator is not None:
            table.pop(operator, None)
    return table


@functools.cache
def _tables() -> tuple[dict[Any, Any], dict[Any, Any]]:
    """The table as torch divides it: for composite operators, and for others.

    Left out are composite operators that decompose as they do anyway (nine of ten), by what torch wraps in a ``partial``.
    """
    from torch.export.exported_program import _split_decomp_table_to_cia_and_python_decomp

    composite, others = _split_decomp_table_to_cia_and_python_decomp(dict(_table()))
    return {op: way for op, way in composite.items() if not isinstance(way, functools.partial)}, others


def _decomposed(program: Any) -> Any:
    """What ``run_decompositions`` gives, which collects and overrides all composite operators anew at each call (0.4 s)."""
    try:
        return _overridden(program)
    except (ImportError, AttributeError, TypeError):  # another torch: its own parts are not where or what they were
        return program.run_decompositions(_table())


def _overridden(program: Any) -> Any:
    from torch._subclasses.fake_tensor import unset_fake_temporarily
    from torch.export.exported_program import _decompose_exported_program

    composite, others = _tables()
    with unset_fake_temporarily():
        return _decompose_exported_program(
            program,
            cia_to_decomp=composite,
            python_decomp_table=dict(others),
            joint_loss_index=None,
            decompose_custom_triton_ops=False,
        )


def _load(source: str) -> dict[str, Any]:
    module = types.ModuleType("reference")
    sys.modules["reference"] = module
    exec(compile(source, "reference.py", "exec"), module.__dict__)
    return module.__dict__


def _export(source: str, training: bool, positional: list[str]) -> dict[str, Any]:
    import torch

    namespace = _load(source)
    model = namespace["Model"](*namespace["get_init_inputs"]())
    model.train(training)
    inputs = tuple(namespace["get_inputs"]())
    names = positional or [f"a{i}" for i in range(len(inputs))]
    arguments = [leaf for name, value in zip(names, inputs, strict=False) for leaf in _leaves(value, name)]
    with torch.no_grad():
        program = _decomposed(torch.export.export(model, inputs, strict=False))
    graph = describe(program, model, arguments)
    graph["half"] = _half_dtypes(model, inputs)
    return graph


def _half_dtypes(model: Any, inputs: Any) -> list[str] | None:
    """Dtypes of the outputs when everything floating is bfloat16; None where the reference does not run so."""
    import torch
    from torch.utils import _pytree as pytree

    half = torch.bfloat16
    cast = pytree.tree_map(lambda v: v.to(half) if isinstance(v, torch.Tensor) and v.is_floating_point() else v, inputs)
    try:
        with torch.no_grad():
            result = model.to(half)(*cast)
    except Exception:  # noqa: BLE001 - whatever the reference raises in bf16: then it is no bf16 task
        return None
    return [str(v.dtype).removeprefix("torch.") for v in pytree.tree_leaves(result) if isinstance(v, torch.Tensor)]


def export(source: str, training: bool, positional: list[str]) -> dict[str, Any]:
    """One graph, by fake tensors where the reference allows, else by real ones.

    Raises:
        Exception: whatever the reference or the export raises.
    """
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    torch.manual_seed(0)
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            graph = _export(source, training, positional)
        if not any(t["role"] == "const" for t in graph["tensors"]):
            return graph
    except Exception:  # noqa: BLE001 - fake tensors have no data: the reference may need it, and then says so in any way
        graph = None
    try:
        return _export(source, training, positional)
    except Exception:  # noqa: BLE001 - the reference's own error, seen with real tensors
        if graph is not None:
            return graph
        raise


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Export each variant's first accepted source; stop starting new ones after ``seconds``."""
    started = time.monotonic()
    graphs: list[dict[str, Any]] = []
    for number, variants in enumerate(request["variants"]):
        if number and time.monotonic() - started > request["seconds"]:
            break
        problem = ""
        for source in variants:
            try:
                graph = export(source, request["training"], request["arguments"])
                graphs.append({**graph, "own": number < request.get("own", len(request["variants"]))})
                break
            except Exception as error:  # noqa: BLE001 - process boundary: not to export is a fact
                problem = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        else:
            if number == 0:
                return {"graphs": [], "problem": problem}
    return {"graphs": graphs, "problem": ""}


def main() -> None:
    """Read the request from stdin, write the answer to stdout."""
    warnings.simplefilter("ignore")
    request = json.load(sys.stdin)
    out, sys.stdout = sys.stdout, sys.stderr
    json.dump(answer(request), out)


if __name__ == "__main__":
    main()
