"""One self-contained HTML page for a run: what was tried, what won, and the evidence."""

from kernelwright.agent.report.render import render_report, write_report

__all__ = ["render_report", "write_report"]
