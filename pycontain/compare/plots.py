"""The report's plots, drawn by matplotlib, as SVG for the page."""

from __future__ import annotations

import io
from typing import Any

from pycontain.compare.report import METRICS, Metric, Report
from pycontain.compare.text import number
from pycontain.errors import MachineError

COLOURS = {
    "host": "#7f8c8d",
    "container": "#1f77b4",
    "machine": "#d95f02",
    "uml": "#7570b3",
    "podman": "#2a9d6f",
}


def plots(report: Report) -> dict[str, str]:
    """metric key -> an <svg> element; only of what was measured. MachineError without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        raise MachineError(
            "draw plots: matplotlib is not installed", hint="pip install 'pycontain[plots]', or use --json"
        ) from None
    matplotlib.use("svg")
    from matplotlib.figure import Figure  # heavy, and only for the page

    found = {}
    with matplotlib.rc_context({"svg.fonttype": "path", "svg.hashsalt": "pycontain", "font.size": 10}):
        for metric in METRICS:
            rows = [row for row in report.rows if row.value(metric.key)]
            if rows:
                found[metric.key] = _draw(Figure, metric, rows)
    return found


def _draw(figure_class: Any, metric: Metric, rows: list[Any]) -> str:
    values = [row.value(metric.key) for row in rows]
    figure = figure_class(figsize=(7.2, 0.55 * len(rows) + 1.0), layout="constrained")
    axes = figure.subplots()
    names = [row.name for row in rows]
    bars = axes.barh(names, values, color=[COLOURS.get(row.kind, "#444444") for row in rows], height=0.6)
    axes.bar_label(bars, [f" {number(v)} {metric.unit}" for v in values])
    for place, row in enumerate(rows):
        if len(row.values[metric.key]) > 1:
            axes.plot(
                row.values[metric.key], [place] * len(row.values[metric.key]), "k.", markersize=3, alpha=0.6
            )
    if max(values) > 30 * min(values):
        axes.set_xscale("log")
    axes.invert_yaxis()
    axes.margins(x=0.18)
    axes.set_xlabel(f"{metric.title} ({metric.unit})" if metric.unit else metric.title)
    axes.spines[["top", "right"]].set_visible(False)
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Type": None, "Format": None})
    text = out.getvalue()
    return text[text.index("<svg") :]
