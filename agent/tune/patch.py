"""Put kernels into a model: custom operators inside the captured graph, behind guards; outside them the original runs.

Needs torch and the capture beside it alone: exported packages carry this file. The model keeps its parameters, buffers,
``state_dict`` and hooks; only its class becomes a subclass of its own whose ``forward`` looks at the guards first.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn
from torch.utils import _pytree as pytree

from kernelwright.tasks.carve.capture import Group, Site, slots

Kernel = Callable[..., Any]
"""Takes a group's inputs and returns its outputs, like an instance of ``ModelNew``."""

_NAMESPACE = __name__.rpartition("._runtime")[0].replace(".", "_") or "kernelwright_tuned"
"""Of the custom operators: an exported package's are called as the package, so that two do not get into each other's way."""
_defined: dict[str, Kernel] = {}
"""Operator -> the kernel it calls; kept, since torch keeps operators as long as the process lives."""
_originals: dict[str, fx.GraphModule] = {}


class Slot(nn.Module):
    """One occurrence of a group: the custom operator while ``enabled``, else the original graph."""

    def __init__(self, group: Group, original: fx.GraphModule, op: Any) -> None:
        super().__init__()
        self.key = group.key
        self.enabled = True
        self.original = original
        self._op = op
        self._single = len(group.outputs) == 1

    def forward(self, *inputs: torch.Tensor) -> Any:
        if not self.enabled:
            return self.original(*inputs)
        return self._op(*inputs)


@dataclass
class Guarded:
    """One captured site with kernels in it, and all that must hold for it to stand in for the module's forward."""

    module: nn.Module
    graph: fx.GraphModule
    tree: pytree.TreeSpec
    leaves: tuple[Any, ...]
    """Per leaf of the arguments: (shape, strides, dtype, device) of a tensor, else the value itself."""
    training: bool
    parameters: list[tuple[dict[str, Any], str, torch.Tensor, torch.dtype, torch.device]]
    """Owner's dictionary, name, and what the graph was captured with."""
    inner: list[tuple[dict[str, nn.Module | None], str, nn.Module, bool]] = field(default_factory=list)
    """Of every module inside: parent's dictionary, name, the module, and whether it was in training."""
    slots: list[Slot] = field(default_factory=list)
    differentiable: bool = False

    def __deepcopy__(self, memo: dict[int, Any]) -> Guarded:
        """Itself: it holds for no module but its own, so that a copy of the model runs the original forward."""
        return self

    def holds(self, module: nn.Module, args: Any, kwargs: Any) -> bool:
        """Whether a call is inside the envelope."""
        if module is not self.module or module.training != self.training:
            return False
        if torch.is_autocast_enabled("cuda") or torch.is_autocast_enabled("cpu"):
            return False
        leaves, tree = pytree.tree_flatten((args, kwargs))
        if tree != self.tree or len(leaves) != len(self.leaves):
            return False
        for leaf, wanted in zip(leaves, self.leaves):  # noqa: B905  lengths were compared; dynamo traces this
            if signature(leaf) != wanted:
                return False
        if not self._same():
            return False
        if self.differentiable or not torch.is_grad_enabled():
            return True
        return not any(isinstance(t, torch.Tensor) and t.requires_grad for t in [*leaves, *(p[2] for p in self.parameters)])

    def _same(self) -> bool:
        """Whether the modules inside, and all parameters and buffers, are those that were captured."""
        for held, name, child, training in self.inner:
            if held.get(name) is not child or child.training != training or has_hooks(child):
                return False
        for owner, name, was, dtype, device in self.parameters:
            now = owner.get(name)
            if now is not was or now.dtype != dtype or now.device != device:
                return False
        return True


def signature(leaf: Any) -> Any:
    """What a guard compares of one argument."""
    if isinstance(leaf, torch.Tensor):
        return (tuple(leaf.shape), tuple(leaf.stride()), leaf.dtype, leaf.device.type, leaf.device.index)
    return (type(leaf).__name__, leaf)


@dataclass
class Patched:
    """A model with kernels in it; :meth:`undo` makes it what it was."""

    model: nn.Module
    regimes: list[tuple[nn.Module, Guarded]] = field(default_factory=list)
    _classes: dict[int, tuple[nn.Module, type[nn.Module]]] = field(default_factory=dict)

    def used(self) -> list[str]:
        """Groups with a kernel that is in use."""
        return sorted({s.key for _, g in self.regimes for s in g.slots if s.enabled})

    def enable(self, keys: Sequence[str]) -> None:
        """Use the kernels of these groups, and the original operators for all others."""
        for _, guarded in self.regimes:
            for slot in guarded.slots:
                slot.enabled = slot.key in keys

    def original(self) -> nn.Module:
        """A copy of the model as it was, which shares the parameters and buffers."""
        shared: dict[int, Any] = {id(t): t for t in [*self.model.parameters(), *self.model.buffers()]}
        return unpatched(copy.deepcopy(self.model, shared))

    def undo(self) -> None:
        """Give every module its own class back."""
        for module, kind in self._classes.values():
            module.__class__ = kind
            module.__dict__.pop("_kernelwright_regimes", None)
        self._classes.clear()


def unpatched(model: nn.Module) -> nn.Module:
    """``model`` with every module's own class back."""
    for module in model.modules():
        if module.__dict__.pop("_kernelwright_regimes", None) is not None:
            module.__class__ = type(module).__mro__[1]
    return model


def patch(model: nn.Module, sites: Sequence[Site], kernels: Mapping[str, Kernel], training: bool = False) -> Patched:
    """Put ``kernels`` (group key -> kernel) into ``model`` where ``sites`` were captured.

    Raises:
        ValueError: a module inside a site has hooks, which the captured graph would pass by.
    """
    patched = Patched(model)
    try:
        for site in sites:
            if not any(group.key in kernels for group in site.groups.values()):
                continue
            if path := hooked(site):
                raise ValueError(f"module {path!r} has hooks, which a captured graph would pass by; remove them first")
            guarded = _guarded(site, kernels, training)
            _install(patched, site.module, guarded)
    except BaseException:  # an interrupt, too, leaves the model as it was
        patched.undo()
        raise
    return patched


def hooked(site: Site) -> str:
    """Path of the first module inside ``site`` that has hooks, which a captured graph would pass by; empty where none has."""
    for path, module in site.module.named_modules():
        if path and has_hooks(module):
            return ".".join(p for p in (site.path, path) if p)
    return ""


def has_hooks(module: nn.Module) -> bool:
    """Whether a call of ``module`` runs more than its forward."""
    return bool(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks)


def _guarded(site: Site, kernels: Mapping[str, Kernel], training: bool) -> Guarded:
    leaves, tree = pytree.tree_flatten((site.args, dict(site.kwargs)))
    state = [
        (held, name, tensor, tensor.dtype, tensor.device)
        for owner in site.module.modules()
        for held in (owner._parameters, owner._buffers)
        for name, tensor in held.items()
        if tensor is not None
    ]
    inner = [
        (owner._modules, name, child, child.training)
        for owner in site.module.modules()
        for name, child in owner._modules.items()
        if child is not None
    ]
    wanted = tuple(map(signature, leaves))
    guarded = Guarded(site.module, site.graph, tree, wanted, training, state, inner, differentiable=training)
    for name, group, original in list(slots(site)):
        if group.key in kernels and not isinstance(original, Slot):
            slot = Slot(group, original, operator(group, kernels[group.key], original, training))
            setattr(site.graph, name, slot)
            guarded.slots.append(slot)
    return guarded


def _install(patched: Patched, module: nn.Module, guarded: Guarded) -> None:
    patched.regimes.append((module, guarded))
    known = module.__dict__.get("_kernelwright_regimes")
    if known is not None:
        known.append(guarded)
        return
    original = type(module)
    module.__dict__["_kernelwright_regimes"] = [guarded]

    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        for regime in self.__dict__["_kernelwright_regimes"]:
            if regime.holds(self, args, kwargs):
                return regime.graph(*args, **kwargs)
        return original.forward(self, *args, **kwargs)

    module.__class__ = type(original.__name__, (original,), {"forward": forward, "__module__": original.__module__})
    patched._classes[id(module)] = (module, original)


def operator(group: Group, kernel: Kernel, original: fx.GraphModule, training: bool) -> Any:
    """The custom operator for a group: contiguous outputs, a fake kernel, and autograd by recomputation in training.

    The backward runs the group's original operators again and differentiates those: gradients are the original's own.
    """
    name = f"{_NAMESPACE}::g{group.key}"
    first = name not in _defined
    _defined[name] = kernel  # a later patch with another kernel for the same group takes this one's place
    if not first:
        return getattr(getattr(torch.ops, _NAMESPACE), f"g{group.key}")
    single = len(group.outputs) == 1

    def run(*inputs: torch.Tensor) -> Any:
        with torch.no_grad():
            outputs = _defined[name](*inputs)
        if single:
            return outputs.contiguous()
        return tuple(o.contiguous() for o in outputs)

    def fake(*inputs: torch.Tensor) -> Any:
        made = tuple(inputs[0].new_empty(o.shape, dtype=getattr(torch, o.dtype)) for o in group.outputs)
        return made[0] if single else made

    arguments = ", ".join(f"Tensor x{i}" for i in range(len(group.inputs)))
    results = "Tensor" if single else f"({', '.join('Tensor' for _ in group.outputs)})"
    op = torch.library.custom_op(name, run, mutates_args=(), schema=f"({arguments}) -> {results}")
    op.register_fake(fake)
    op.register_autograd(_backward(original), setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs))
    return getattr(getattr(torch.ops, _NAMESPACE), f"g{group.key}")


def _backward(original: fx.GraphModule) -> Callable[..., Any]:
    def backward(ctx: Any, *gradients: Any) -> Any:
        needed = [i for i, wanted in enumerate(ctx.needs_input_grad) if wanted]
        with torch.enable_grad():
            inputs = [t.detach() for t in ctx.saved_tensors]
            for i in needed:
                inputs[i].requires_grad_(True)
            outputs = original(*inputs)
        outputs = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
        pairs = [(o, g) for o, g in zip(outputs, gradients, strict=True) if g is not None and o.requires_grad]
        found = torch.autograd.grad(
            [o for o, _ in pairs], [inputs[i] for i in needed], [g for _, g in pairs], allow_unused=True
        )
        results: list[Any] = [None] * len(inputs)
        for i, gradient in zip(needed, found, strict=True):
            results[i] = gradient
        return results[0] if len(results) == 1 else tuple(results)

    return backward
