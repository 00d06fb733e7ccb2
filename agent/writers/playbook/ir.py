"""What the playbook's emitters read: one :class:`Program` of fused kernels, no backend in it.

Everything is frozen and hashable; expressions and polynomials are interned (equal means the same object: memoise by them
freely). Sizes and element offsets are :class:`~.index.Poly` (see ``index.py``) over
``Sym`` (sizes known at run time), ``Axis`` (loop variables, each with its ``extent``), divisions and ``Value`` (an index
loaded from data). All buffers are contiguous; a load or store names a buffer and a *linear element offset*.

Types. Three kinds of value: ``float`` (computed in fp32 whatever the buffer holds), ``int`` (int64), ``bool``.
A buffer's ``dtype`` is ``work`` (the dtype that the task runs in: fp32, fp16, bf16 – the dtype of the first floating
input at run time, the same for all), or fixed: ``float32``, ``float64``, ``int64``, ``int32``, ``int16``, ``int8``,
``uint8``, ``bool``.
Load converts to the kind's compute type, store rounds to the buffer's dtype.

Kernels run in the program's order and see each other's results only through buffers:

* :class:`Nest` – the workhorse: for each point of the ``outer`` axes (parallel, independent) run ``phases`` in order. A
  phase is a loop over its own axes (none: once per outer point) that reduces, scans and stores. Results of reductions are read
  by later phases as :class:`Scalar`. Examples (i, j axes)::

      relu(x)*a+b      outer=(i,)    phases=(Loop((), stores=(Store(out, i, …),)),)
      softmax(x, -1)   outer=(i,)    phases=(Loop((j,), reduces=(m = max x[i*M+j],)),
                                             Loop((j,), reduces=(s = sum exp(x[i*M+j] - m),)),
                                             Loop((j,), stores=(out[i*M+j] = exp(x[i*M+j] - m) / s,)))
      x.sum()          outer=()      phases=(Loop((i,), reduces=(s = sum x[i],)), Loop((), stores=(out[0] = s,)))
      softmax(dim=1)   outer=(n, h)  phases as softmax with loads x[n*C*H + c*H + h]: the unit-stride axis may be outer
      max_pool2d       outer=(nc, y, x) phases=(Loop((ky, kx), reduces=(m = max Masked(in bounds, load, -inf),)), Loop((),
      stores…))
      cumsum           outer=(i,)    phases=(Loop((j,), scans=(c = sum x[i*M+j],), stores=(out[i*M+j] = c,)),)

  Phases over the same row use the *same* axis objects, so equal subexpressions of several phases are equal objects
  (cache them or compute them again: the emitter's choice). Subexpressions that read no axis of a phase are invariant in it.
  ``outer=()`` asks for a parallel reduction. Adjacent axes are already collapsed where every access allows it.
* :class:`Matmul` – ``acc[b…, m, n] = Σ_k a · b`` then ``stores`` that read ``Scalar(acc)``; ``a`` is an expression over
  (batch, m, k), ``b`` over (batch, k, n): usually a plain Load, else a fused prologue.
* :class:`Conv` – direct convolution (grouped, 1 to 3 spatial dims, transposed or not), same form of epilogue.
* :class:`Scatter` – writes or accumulates at loaded positions into a buffer that an earlier kernel has initialised.
* :class:`Order` – sorts along an axis, or finds the best few, same form of epilogue.
* :class:`Spectrum` – Fourier transforms of real rows.

:func:`matmul_nest` and :func:`conv_nest` rewrite the templates as plain nests: correct anywhere, the slow way.
:func:`expr_axes`, :func:`walk`, :func:`loads` help an emitter; ``module.py`` renders the Python file round the kernels.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from kernelwright.agent.writers.playbook.expr import Expr, Kind, Load
from kernelwright.agent.writers.playbook.index import Axis, Poly


@dataclass(frozen=True)
class Reduce:
    """``name = op`` over all points of its loop of ``value``.

    ``op``: ``sum prod max min`` (of ``value``'s kind; ``max``/``min`` propagate NaN), ``any all`` (bool),
    ``argmax argmin`` (``index`` at the first extreme value, NaN counts as extreme; result of kind ``int``).
    ``kind`` is the result's. Sums of floats must be accurate for long rows (several accumulators, pairwise or fp64).
    """

    name: str
    op: str
    value: Expr
    kind: Kind
    index: Poly | None = None


@dataclass(frozen=True)
class Scan:
    """A running ``sum``, ``prod``, ``max`` or ``min`` along the loop's single axis, in its order (from the end where
    ``reverse``). ``index`` with max/min: a second scalar ``<name>_at`` (int) holds the position of the running extreme
    (latest of equals)."""

    name: str
    op: str
    value: Expr
    kind: Kind
    reverse: bool = False
    index: Poly | None = None


@dataclass(frozen=True)
class Store:
    """``buffer[offset] = value``, once per point of its loop; no two points write one element."""

    buffer: str
    offset: Poly
    value: Expr


@dataclass(frozen=True)
class Loop:
    """One phase: a loop over ``axes`` (first slowest). Either ``reduces`` or ``scans`` or neither; then ``stores``.

    Stores of a loop with reductions do not read those (a later phase does); stores beside scans read the running value.
    """

    axes: tuple[Axis, ...]
    reduces: tuple[Reduce, ...] = ()
    scans: tuple[Scan, ...] = ()
    stores: tuple[Store, ...] = ()
    span: tuple[Expr, Expr] | None = None
    """The loop's one axis runs from the first to before the second (kind ``int``, over the outer axes) instead of over its
    extent:
    rows of a compressed sparse matrix."""


@dataclass(frozen=True)
class Nest:
    """For every point of ``outer`` (independent of each other; last axis is the fastest in the stored buffer) run
    ``phases``."""

    name: str
    outer: tuple[Axis, ...]
    phases: tuple[Loop, ...]


@dataclass(frozen=True)
class Matmul:
    """``acc = Σ_k a·b`` for each (batch…, m, n); ``stores`` run once per (batch…, m, n) and read ``Scalar(acc, "float")``."""

    name: str
    batch: tuple[Axis, ...]
    m: Axis
    n: Axis
    k: Axis
    a: Expr
    b: Expr
    acc: str
    stores: tuple[Store, ...]


@dataclass(frozen=True)
class Conv:
    """``acc[n, g, oc, o…] = Σ_{ic, t…} x(n, g, ic, p…) · w(g, oc, ic, t…)``; points outside ``0 <= p < inputs`` count as 0.

    Forward: ``p = o·stride − padding + t·dilation``. Transposed: ``p = (o + padding − t·dilation) / stride`` where it divides.
    ``x`` is an expression over ``batch, group, ic`` and ``positions``; ``w`` over ``group, oc, ic, taps``.
    ``stores`` run once per (batch, group, oc, spatial…) and read ``Scalar(acc, "float")``.
    """

    name: str
    batch: Axis
    group: Axis
    oc: Axis
    spatial: tuple[Axis, ...]
    ic: Axis
    taps: tuple[Axis, ...]
    positions: tuple[Axis, ...]
    inputs: tuple[Poly, ...]
    stride: tuple[Poly, ...]
    padding: tuple[Poly, ...]
    dilation: tuple[Poly, ...]
    transposed: bool
    x: Expr
    w: Expr
    acc: str
    stores: tuple[Store, ...]


@dataclass(frozen=True)
class Scatter:
    """For each point of ``axes``: ``buffer[offset] = value`` (``op="set"``, last wins) or combined by ``sum prod max min``.

    Offsets may coincide (atomics, or a serial loop). ``buffer`` has been written by an earlier kernel.
    Where ``guard`` is given, points at which it is false write nothing.
    """

    name: str
    axes: tuple[Axis, ...]
    buffer: str
    offset: Poly
    value: Expr
    op: str
    guard: Expr | None = None


@dataclass(frozen=True)
class Order:
    """For every point of ``outer``: the values along ``along`` in order, of which the ranks ``rank`` are kept.

    NaN is larger than every number. ``stores`` run once per (outer…, rank) and read ``Scalar(acc)``: the value of that rank,
    or, with ``position``, where along ``along`` it stood (the first of equals has the lower rank).
    """

    name: str
    outer: tuple[Axis, ...]
    along: Axis
    rank: Axis
    value: Expr
    descending: bool
    position: bool
    acc: str
    stores: tuple[Store, ...]


@dataclass(frozen=True)
class Spectrum:
    """``buffer`` (rows, length // 2 + 1, 2) = the Fourier transform of each row of ``value``, a plain load of (rows, length).

    ``length`` is a power of two from 4 to 32768.
    """

    name: str
    rows: Poly
    length: Poly
    value: Load
    buffer: str


Kernel = Nest | Matmul | Conv | Scatter | Order | Spectrum


@dataclass(frozen=True)
class Buffer:
    """A contiguous tensor. ``role``: ``input`` (of forward), ``param`` (a parameter, buffer or tensor attribute of the module),
    ``const`` (literal data), ``temp`` (written and read by kernels), ``output`` (written, then returned)."""

    name: str
    shape: tuple[Poly, ...]
    dtype: str
    role: str
    source: str = ""
    """input and param: the Python expression that gives the tensor inside ``forward``, e.g. ``x``, ``xs[0]``,
    ``self.fc.weight``."""
    data: tuple[float | int | bool, ...] = ()
    """const: its elements in order."""


@dataclass(frozen=True)
class Size:
    """A symbol of the program. ``source``: a Python expression over forward's arguments and ``self``, e.g. ``x.shape[0]``."""

    name: str
    source: str


@dataclass(frozen=True)
class Number:
    """A scalar of the program (kind ``float``, ``int`` or ``bool``), as :class:`Size`."""

    name: str
    source: str
    kind: Kind


@dataclass(frozen=True)
class Guard:
    """A Python condition over the program's symbols (by name) and ``source`` expressions that must hold; else
    OutsideEnvelope."""

    condition: str
    says: str


@dataclass(frozen=True)
class Output:
    """One tensor that forward returns: ``buffer`` seen with ``shape`` (equal element count, same order)."""

    buffer: str
    shape: tuple[Poly, ...]


@dataclass(frozen=True)
class Program:
    """All that an emitter needs. ``result`` is a tree (nested tuples; ``("list", …)``, ``("tuple", …)``, ``("dict", (key,
    …)…)``) whose leaves
    are :class:`Output`, or Python literals (int, float, bool, None)."""

    sizes: tuple[Size, ...]
    numbers: tuple[Number, ...]
    buffers: tuple[Buffer, ...]
    kernels: tuple[Kernel, ...]
    result: object
    guards: tuple[Guard, ...]
    holder: str
    """Text of the module level that ``ModelNew`` needs, with ``class ModelNew`` whose constructor creates the parameters."""
    forward: str
    """The signature of forward, e.g. ``self, x, mask=None``."""
    dtypes: tuple[str, ...] = ("float32",)
    """Working dtypes worth native code: others are cast at the edges."""
    hints: dict[str, tuple[int, ...]] = field(default_factory=dict, hash=False, compare=False)
    """Symbol -> its values at the traced shapes that are the task's own: for choosing default schedules, never for
    correctness."""

    def buffer(self, name: str) -> Buffer:
        """The buffer called ``name``."""
        return next(b for b in self.buffers if b.name == name)
