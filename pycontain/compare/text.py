"""The report as a table for a terminal."""

from __future__ import annotations

from math import floor, log10

from pycontain.compare.report import METRICS, Report


def number(value: float | None) -> str:
    """Three significant digits, two of what is very small; a dash where there is nothing."""
    if value is None:
        return "-"
    if value >= 1000:
        return f"{value:,.0f}"
    if value >= 100:
        return f"{value:.0f}"
    if value >= 0.01 or value <= 0:
        return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"
    return f"{value:.{1 - floor(log10(value))}f}"


def table(report: Report) -> str:
    """One line per quantity, one column per way to run the image."""
    head = ["", *(row.name for row in report.rows)]
    lines = [head]
    for metric in METRICS:
        title = f"{metric.title} ({metric.unit})" if metric.unit else metric.title
        lines.append([title, *(number(row.value(metric.key)) for row in report.rows)])
    widths = [max(len(line[n]) for line in lines) for n in range(len(head))]
    out = [
        "  ".join(
            [
                line[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
            ]
        )
        for line in lines
    ]
    more = "; ".join(metric.title for metric in METRICS if metric.better == "more")
    out += [
        "",
        "Medians; a dash: not possible, or not measured.",
        f"More is better: {more}. Less is better: the rest.",
    ]
    out += ["`pycontain compare --html FILE IMAGE` says what each figure means, and shows plots."]
    out += ["", "the boundary between guest and host:"]
    out += [f"  {row.name}: {row.boundary}" for row in report.rows]
    out += ["", "how each was run:"]
    out += [f"  {row.name}: {row.shown or 'its own program, directly'}" for row in report.rows]
    problems = [
        f"  {row.name}, {key}: {reason}" for row in report.rows for key, reason in row.failures.items()
    ]
    if problems or report.missing:
        out += ["", "not measured:", *(f"  {line}" for line in report.missing), *problems]
    return "\n".join(out)
