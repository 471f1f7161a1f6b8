"""The report's plots, drawn by matplotlib, as SVG for the page."""

from __future__ import annotations

import io
from typing import Any

from pycontain.compare.report import METRICS, Metric, Report, Row
from pycontain.compare.text import number
from pycontain.errors import MachineError

COLOURS = {
    "host": "#7f8c8d",
    "container": "#1f77b4",
    "machine": "#d95f02",
    "uml": "#7570b3",
    "podman": "#2a9d6f",
}
INK = "#010203"
"""Stands for the text's colour while matplotlib draws."""


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
    ink = dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK
    )
    settings: Any = {"svg.fonttype": "path", "svg.hashsalt": "pycontain", "font.size": 10, **ink}
    with matplotlib.rc_context(settings):
        for metric in METRICS:
            rows = [row for row in report.rows if row.value(metric.key)]
            if rows:
                found[metric.key] = _draw(Figure, metric, report, rows)
    return found


def is_logarithmic(metric: Metric, report: Report) -> bool:
    """Whether the values are so far apart that the small ones would not be seen otherwise."""
    values = [value for row in report.rows if (value := row.value(metric.key))]
    return max(values) > 30 * min(values)


def _draw(figure_class: Any, metric: Metric, report: Report, rows: list[Row]) -> str:
    values = [row.value(metric.key) or 0.0 for row in rows]
    figure = figure_class(figsize=(7.2, 0.55 * len(rows) + 1.0), layout="constrained")
    axes = figure.subplots()
    names = [row.name for row in rows]
    axes.barh(names, values, color=[COLOURS.get(row.kind, "#444444") for row in rows], height=0.6)
    for place, (row, value) in enumerate(zip(rows, values, strict=True)):
        measured = row.values[metric.key]
        if len(measured) > 1:
            axes.plot(measured, [place] * len(measured), ".", color=INK, markersize=3, alpha=0.6)
        axes.annotate(
            f"{number(value)} {metric.unit}",
            (max(measured), place),  # behind the dots
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
        )
    if is_logarithmic(metric, report):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    axes.invert_yaxis()
    axes.margins(x=0.18)
    axes.set_xlabel(f"{metric.title} ({metric.unit})" if metric.unit else metric.title)
    axes.spines[["top", "right"]].set_visible(False)
    out = io.StringIO()
    nothing = {"Date": None, "Creator": None, "Type": None, "Format": None}
    figure.savefig(out, format="svg", metadata=nothing, transparent=True)
    text = out.getvalue()
    return text[text.index("<svg") :].replace(INK, "currentColor")  # the page's own: it may be dark
