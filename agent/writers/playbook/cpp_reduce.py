"""How reductions and scans are accumulated in C++: identities, vector clauses, wide partial sums, argmax keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kernelwright.agent.writers.playbook.expr import Expr
from kernelwright.agent.writers.playbook.index import Poly
from kernelwright.agent.writers.playbook.ir import Reduce

_CLAUSE = {"sum": "+", "prod": "*", "max": "max", "min": "min", "argmax": "max", "argmin": "min", "any": "|", "all": "&"}


@dataclass(frozen=True)
class Lane:
    """One reduction.

    Float sums: fp32 in lanes, fp64 across chunks. Float max and min: on an int32 key that orders as the floats do and puts
    NaN at the
    extreme, so that they vectorise and NaN wins. ``any``/``all``: int32.
    """

    name: str
    op: str
    kind: str
    value: Expr
    index: Poly | None

    @property
    def keyed(self) -> bool:
        return self.op in ("max", "min", "argmax", "argmin") and self.value.kind == "float"

    @property
    def narrow(self) -> str:
        """Type in a lane."""
        if self.keyed or self.op in ("any", "all"):
            return "int32_t"
        return "float" if self.value.kind == "float" else "i64"

    @property
    def wide(self) -> str:
        """Type across chunks."""
        return "double" if self.narrow == "float" else self.narrow

    @property
    def identity(self) -> str:
        if self.op in ("max", "argmax"):
            return "INT32_MIN" if self.keyed else "INT64_MIN"
        if self.op in ("min", "argmin"):
            return "INT32_MAX" if self.keyed else "INT64_MAX"
        return {"sum": "0", "prod": "1", "any": "0", "all": "1"}[self.op]

    def key(self, value: str) -> str:
        """What is compared."""
        if not self.keyed:
            return f"(i64){value}"
        return f"{'kmaxkey' if self.op.endswith('max') else 'kminkey'}({value})"

    def _take(self, into: str, value: str) -> str:
        if self.op.endswith("max") or self.op.endswith("min"):
            sign = ">" if self.op.endswith("max") else "<"
            return f"{into} = {value} {sign} {into} ? {value} : {into};"
        return f"{into} {_CLAUSE[self.op]}= {value};"

    def join(self, part: str) -> str:
        """A partial result into the sum."""
        return self._take(f"{self.name}_sum", part)

    # one point a task

    def declare(self) -> list[str]:
        return [f"{self.wide} {self.name}_sum = {self.identity};"]

    def start(self, streams: int) -> list[str]:
        names = ", ".join(f"{self.name}_a{s} = {self.identity}" for s in range(streams))
        return [f"{self.narrow} {names};"]

    def clause(self, streams: int) -> str:
        return f"reduction({_CLAUSE[self.op]} : {', '.join(f'{self.name}_a{s}' for s in range(streams))})"

    def update(self, value: str, place: str | None, stream: str) -> list[str]:
        into = f"{self.name}_a{stream}"
        if self.op in ("any", "all"):
            return [f"{into} {_CLAUSE[self.op]}= (int32_t)({value} != 0);"]
        if self.op in ("sum", "prod"):
            return [f"{into} {_CLAUSE[self.op]}= {value};"]
        key = f"{self.name}_k"
        return [f"const {self.narrow} {key} = {self.key(value)};", self._take(into, key)]

    def finish(self, streams: int) -> list[str]:
        if self.op in ("sum", "prod") and self.narrow == "float":
            sign = f" {_CLAUSE[self.op]} "
            return [f"{self.name}_sum {_CLAUSE[self.op]}= {sign.join(f'(double){self.name}_a{s}' for s in range(streams))};"]
        return [self._take(f"{self.name}_sum", f"{self.name}_a{s}") for s in range(streams)]

    def done(self) -> list[str]:
        """The result under the reduction's own name (for argmax, the key that its place is then sought by)."""
        if self.index is not None:
            return [f"const {self.narrow} {self.name}_key = {self.name}_sum;"]
        return [f"const {self._result()} {self.name} = {self._final(f'{self.name}_sum')};"]

    def _result(self) -> str:
        return {"float": "float", "int": "i64", "bool": "bool"}[self.kind]

    def _final(self, total: str) -> str:
        if self.keyed:
            return f"kunkey({total})"
        return f"({self._result()}){total}"

    # lanes are points

    def declare_lane(self, tile: int) -> list[str]:
        lines = [f"{self.narrow} {self.name}_a[{tile}];"]
        fill = f"{self.name}_a[t_] = {self.identity};"
        if self.wide == "double":
            lines.append(f"double {self.name}_sum[{tile}];")
            fill += f" {self.name}_sum[t_] = {self.identity};"
        if self.index is not None:
            lines.append(f"i64 {self.name}_p[{tile}];")
            fill += f" {self.name}_p[t_] = 0;"
        return [*lines, f"for (i64 t_ = 0; t_ < w_; ++t_) {{ {fill} }}"]

    def update_lane(self, value: str, place: str | None) -> list[str]:
        into = f"{self.name}_a[t_]"
        if self.op in ("any", "all"):
            return [f"{into} {_CLAUSE[self.op]}= (int32_t)({value} != 0);"]
        if self.op in ("sum", "prod"):
            return [f"{into} {_CLAUSE[self.op]}= {value};"]
        key = f"{self.name}_k"
        lines = [f"const {self.narrow} {key} = {self.key(value)};"]
        if place is not None:
            sign = ">" if self.op.endswith("max") else "<"
            lines.append(f"{self.name}_p[t_] = {key} {sign} {into} ? {place} : {self.name}_p[t_];")
        return [*lines, self._take(into, key)]

    def flush_lane(self) -> list[str]:
        if self.wide != "double":
            return []
        total, part = f"{self.name}_sum[t_]", f"{self.name}_a[t_]"
        step = f"{total} {_CLAUSE[self.op]}= (double){part}; {part} = {self.identity};"
        return [f"for (i64 t_ = 0; t_ < w_; ++t_) {{ {step} }}"]

    def done_lane(self, tile: int) -> list[str]:
        if self.index is not None:
            return [f"const i64* {self.name} = {self.name}_p;"]
        total = f"{self.name}_sum[t_]" if self.wide == "double" else f"{self.name}_a[t_]"
        return [
            f"{self._result()} {self.name}[{tile}];",
            f"for (i64 t_ = 0; t_ < w_; ++t_) {self.name}[t_] = {self._final(total)};",
        ]


def accumulators(reduces: Sequence[Reduce]) -> list[Lane]:
    """The reductions of a loop."""
    return [Lane(r.name, r.op, r.kind, r.value, r.index) for r in reduces]


@dataclass(frozen=True)
class Stream:
    """One scan: the running value under its own name, wide inside."""

    op: str
    kind: str
    name: str

    @property
    def _wide(self) -> str:
        return "double" if self.kind == "float" and self.op in ("sum", "prod") else {"float": "float"}.get(self.kind, "i64")

    @property
    def _first(self) -> str:
        if self.op in ("sum", "prod"):
            return "0" if self.op == "sum" else "1"
        low = self.op == "max"
        if self.kind == "float":
            return "-INF" if low else "INF"
        return "INT64_MIN" if low else "INT64_MAX"

    @property
    def _result(self) -> str:
        return {"float": "float"}.get(self.kind, "i64")

    def _step(self, into: str, place_into: str, value: str, place: str | None) -> list[str]:
        if self.op in ("sum", "prod"):
            return [f"{into} {'+' if self.op == 'sum' else '*'}= {value};"]
        sign = ">=" if self.op == "max" else "<="
        wins = f"{self.name}_w"
        nan = f" || {value} != {value}" if self.kind == "float" else ""
        keep = f"!({into} != {into}) && " if self.kind == "float" else ""
        lines = [f"const bool {wins} = {keep}({value} {sign} {into}{nan});", f"{into} = {wins} ? {value} : {into};"]
        if place is not None:
            lines.append(f"{place_into} = {wins} ? {place} : {place_into};")
        return lines

    def scan_start(self) -> list[str]:
        return [f"{self._wide} {self.name}_run = {self._first};", f"i64 {self.name}_place = 0; (void){self.name}_place;"]

    def scan(self, value: str, place: str | None) -> list[str]:
        lines = self._step(f"{self.name}_run", f"{self.name}_place", value, place)
        lines.append(f"const {self._result} {self.name} = ({self._result}){self.name}_run;")
        if place is not None:
            lines.append(f"const i64 {self.name}_at = {self.name}_place;")
        return lines

    def scan_start_lane(self, tile: int) -> list[str]:
        fill = f"{self.name}_run[t_] = {self._first}; {self.name}_place[t_] = 0;"
        arrays = f"{self._wide} {self.name}_run[{tile}]; {self._result} {self.name}[{tile}];"
        places = f"i64 {self.name}_place[{tile}]; i64 {self.name}_at[{tile}];"
        return [
            arrays,
            places,
            f"(void){self.name}_place; (void){self.name}_at;",
            f"for (i64 t_ = 0; t_ < {tile}; ++t_) {{ {fill} }}",
        ]

    def scan_lane(self, value: str, place: str | None) -> list[str]:
        lines = self._step(f"{self.name}_run[t_]", f"{self.name}_place[t_]", value, place)
        lines.append(f"{self.name}[t_] = ({self._result}){self.name}_run[t_];")
        if place is not None:
            lines.append(f"{self.name}_at[t_] = {self.name}_place[t_];")
        return lines
