"""Amounts of money as text."""

from __future__ import annotations


def usd(value: float | None) -> str:
    """US dollars with at least two digits that count: ``$2.00``, ``$0.013``; None: the price is unknown."""
    if value is None:
        return "unknown price"
    return f"${value:,.2f}" if value == 0 or value >= 0.1 else f"${value:.2g}"
