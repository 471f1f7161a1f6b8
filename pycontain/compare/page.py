"""The report as one self-contained HTML page: plots, the numbers, and what they mean in plain words."""

from __future__ import annotations

import html
import json

from pycontain.compare.plots import is_logarithmic, plots
from pycontain.compare.report import METRICS, Report
from pycontain.compare.text import number

STYLE = """
:root { color-scheme: light dark; --text: #222; --quiet: #555; --line: #ddd; --page: #fff; }
@media (prefers-color-scheme: dark) { :root { --text: #e4e4e4; --quiet: #aaa; --line: #444; --page: #16181a; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: var(--text);
  background: var(--page); }
h1 { font-size: 1.7rem; } h2 { font-size: 1.25rem; margin-top: 2.2rem; }
figure { margin: 1.4rem 0; } figcaption, .quiet { color: var(--quiet); }
svg { max-width: 100%; height: auto; color: var(--text); }
table { border-collapse: collapse; font-size: .9rem; } .wide { overflow-x: auto; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } dt { font-weight: 600; margin-top: .6rem; }
"""
COMPARED = (
    ("first", "the time to start is"),
    ("memory_next", "the memory of each further instance"),
    ("call", "the time of a system call"),
)
LOGARITHMIC = " The scale is logarithmic: one mark further is ten times as much."
WORDS = (
    ("Shared kernel", "All containers ask the same kernel for files, memory and time. A start is little more than "
     "starting a program, and what one instance costs is little more than the program. What separates "
     "them is the care of that one kernel."),
    ("Guest kernel", "A virtual machine boots a kernel of its own. It needs memory for itself, and time to boot, and "
     "it is what the program's system calls reach: a mistake in it is a mistake inside the machine."),
    ("Hypervisor", "The program that gives the guest kernel a computer to run on: processors, memory, a disk, a "
     "network. Here that is QEMU. With KVM the processor itself runs the guest; under TCG QEMU translates the guest's "
     "instructions, which works everywhere and is many times slower."),
    ("User-Mode Linux", "A guest kernel without a hypervisor: Linux as an ordinary program. The host's processor runs "
     "the guest's programs at full speed, but each of their system calls is caught and handed to that kernel, and the "
     "kernel itself is a process of the host: lighter than a virtual computer, and a thinner wall."),
    ("Why one is heavier, and what that buys", "The boundary of a machine is a processor and a handful of devices "
     "instead of some four hundred system calls: less to get wrong. And because a machine's whole state is its memory "
     "and its devices, it can be saved while it runs, cloned, and moved to another host."),
    ("Template", "Machines are not booted each time: one is booted once, and later ones are copies of it that share "
     "its memory until they write to it. Who asks again under TCG gets copies of one that has run already, with what QEMU "
     "has translated."),
)  # fmt: skip


def page(report: Report) -> str:
    """The page. MachineError without matplotlib."""
    drawn = plots(report)
    text = html.escape
    command = " ".join(report.command)
    host = report.host
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
        f"<title>{text(report.image)}: containers and virtual machines</title><style>{STYLE}</style></head><body>",
        f"<h1>{text(report.image)}: container or virtual machine?</h1>",
        f"<p>The same image, run in different ways on the same host{f' (<code>{text(command)}</code>)' if command else ''}: "
        f"Linux {text(str(host.get('kernel')))}, {host.get('cpus')} CPUs, {text(str(host.get('time')))}. "
        "Bars are medians; dots are single measurements.</p>",
        *(f"<p>{text(line)}</p>" for line in summary(report)),
        '<div class="wide">',
        _table(report),
        "</div>",
    ]
    for metric in METRICS:
        if metric.key in drawn:
            parts += [
                f'<h2 id="{metric.key}">{text(metric.title[0].upper() + metric.title[1:])}</h2>',
                f"<figure>{drawn[metric.key]}<figcaption>{text(metric.text)} "
                f"{'Less is better.' if metric.better == 'less' else 'More is better.'}"
                f"{LOGARITHMIC if is_logarithmic(metric, report) else ''}</figcaption></figure>",
            ]
    parts += ["<h2>What stands between the program and the host</h2><dl>"]
    parts += [
        f"<dt>{text(row.name)}</dt><dd>{text(row.boundary)}"
        + (f"<br><code>{text(row.shown)}</code>" if row.shown else "")
        + "</dd>"
        for row in report.rows
    ]
    parts += ["</dl><h2>The words</h2><dl>"]
    parts += [f"<dt>{text(word)}</dt><dd>{text(meaning)}</dd>" for word, meaning in WORDS]
    parts += ["</dl>"]
    problems = [f"{row.name}: {key}: {reason}" for row in report.rows for key, reason in row.failures.items()]
    if report.missing or problems:
        parts += [
            "<h2>Not measured</h2><ul>",
            *(f"<li>{text(line)}</li>" for line in [*report.missing, *problems]),
            "</ul>",
        ]
    data = json.dumps(report.to_json()).replace("<", "\\u003c")
    parts += [f'<script type="application/json" id="report">{data}</script>', "</body></html>", ""]
    return "\n".join(parts)


def summary(report: Report) -> list[str]:
    """What the numbers come to, in sentences; of containers and machines, where both were measured."""
    container = next((row for row in report.rows if row.kind == "container"), None)
    if container is None:
        return []
    lines = []
    for row in report.rows:
        if row.kind in ("machine", "uml"):
            told = [
                f"{words} {_times(own / theirs)}"
                for key, words in COMPARED
                if (own := row.value(key)) and (theirs := container.value(key))
            ]
            if told:
                lines.append(f"Beside the container, {row.name}: {', '.join(told)}.")
    return lines


def _times(ratio: float) -> str:
    return f"{number(ratio)} times as much" if ratio >= 1 else f"{number(1 / ratio)} times less"


def _table(report: Report) -> str:
    head = "".join(f"<th>{html.escape(row.name)}</th>" for row in report.rows)
    lines = [f"<table><thead><tr><th></th>{head}</tr></thead><tbody>"]
    for metric in METRICS:
        cells = "".join(f"<td>{number(row.value(metric.key))}</td>" for row in report.rows)
        unit = f" ({metric.unit})" if metric.unit else ""
        lines.append(f"<tr><td>{html.escape(metric.title + unit)}</td>{cells}</tr>")
    return "\n".join([*lines, "</tbody></table>"])
