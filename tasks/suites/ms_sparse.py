"""MSKernelBench's sparse products, as torch references of our own, and the form that all its references have.

Inputs are drawn as upstream's test programs draw them: one entry in a hundred, at least one a row (or column), columns (or
rows) anywhere and also twice. Only the width of the ELL form is fixed, where upstream's is the longest row of its one draw.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Operator:
    """One operator: its reference, and how its inputs are drawn."""

    category: str
    scenario: str
    arguments: str
    """The parameters of ``forward``."""
    body: str
    """The statements of ``forward``."""
    draw: str
    """The statements of ``get_inputs``, over the names of ``sizes``."""
    sizes: tuple[str, ...]
    """The integers of upstream's test case that inputs hang on."""


_COUNT = "nnz = max(rows * cols // 100, {least})"
_OFFSETS = """{count}
each = torch.full(({outer},), nnz // {outer}) + (torch.arange({outer}) < nnz % {outer})
offsets = torch.cat([torch.zeros(1), each.cumsum(0)]).int()
indices = torch.randint({inner}, (nnz,), dtype=torch.int32)"""
_DRAWS = {
    "coo": f"""{_COUNT.format(least="rows")}
row_indices = torch.cat([torch.arange(rows), torch.randint(rows, (nnz - rows,))]).int()
col_indices = torch.randint(cols, (nnz,), dtype=torch.int32)
return [uniform(nnz), row_indices, col_indices, {{dense}}, rows]""",
    "csr": f"""{_OFFSETS.format(count=_COUNT.format(least="rows"), outer="rows", inner="cols")}
return [uniform(nnz), indices, offsets, {{dense}}]""",
    "csc": f"""{_OFFSETS.format(count=_COUNT.format(least="cols"), outer="cols", inner="rows")}
return [uniform(nnz), indices, offsets, {{dense}}, rows]""",
    "ell": f"""{_COUNT.format(least="rows")}
mean = nnz // rows
width = mean + 6 * int(mean**0.5) + 4
filled = 1 + torch.bincount(torch.randint(rows, (nnz - rows,)), minlength=rows)
used = torch.arange(width) < filled.unsqueeze(-1)
col_ids = torch.where(used, torch.randint(cols, (rows, width)), -1).int()
return [uniform(rows, width) * used, col_ids, {{dense}}]""",
}
_ARGUMENTS = {
    "coo": "values, row_indices, col_indices, {dense}, rows",
    "csr": "values, col_indices, row_offsets, {dense}",
    "csc": "values, row_indices, col_offsets, {dense}, rows",
    "ell": "values, col_ids, {dense}",
}
_ENTRIES = {
    "coo": "row, col, val = row_indices.long(), col_indices.long(), wide(values)",
    "csr": "rows = row_offsets.numel() - 1\n"
    "row = torch.repeat_interleave(torch.arange(rows, device=values.device), row_offsets.diff())\n"
    "col, val = col_indices.long(), wide(values)",
    "csc": "columns = torch.arange(col_offsets.numel() - 1, device=values.device)\n"
    "col = torch.repeat_interleave(columns, col_offsets.diff())\n"
    "row, val = row_indices.long(), wide(values)",
    "ell": "rows = values.shape[0]\n"
    "row, place = torch.nonzero(col_ids >= 0, as_tuple=True)  # -1: no entry\n"
    "col, val = col_ids[row, place].long(), wide(values)[row, place]",
}
"""Row, column and value of each entry, and the number of rows."""
_VECTOR = "return val.new_zeros(rows).index_add_(0, row, val * wide(x)[col]).to(values.dtype)"
_MATRIX = """shape = (rows, X.shape[0])
matrix = torch.sparse_coo_tensor(torch.stack([row, col]), val, shape, check_invariants=False)
return (matrix @ wide(X)).to(values.dtype)"""
_CSR_MATRIX = """shape = (row_offsets.numel() - 1, X.shape[0])
matrix = torch.sparse_csr_tensor(row_offsets, col_indices, wide(values), shape, check_invariants=False)
return (matrix @ wide(X)).to(values.dtype)"""


def _vector(form: str) -> Operator:
    body = f"{_ENTRIES[form]}\n{_VECTOR}"
    draw = _DRAWS[form].format(dense="uniform(cols)")
    return Operator("matmul", "sparse", _ARGUMENTS[form].format(dense="x"), body, draw, ("rows", "cols"))


def _matrix(form: str) -> Operator:
    body = _CSR_MATRIX if form == "csr" else f"{_ENTRIES[form]}\n{_MATRIX}"
    draw = _DRAWS[form].format(dense="uniform(cols, K)")
    return Operator("matmul", "sparse", _ARGUMENTS[form].format(dense="X"), body, draw, ("rows", "cols", "K"))


SPARSE: Mapping[str, Operator] = {
    **{f"spmv_{form}": _vector(form) for form in _DRAWS},
    **{f"spmm_{form}": _matrix(form) for form in _DRAWS},
}
