"""The comparison's page in a real browser."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from pycontain.compare.report import Report, Row

BROWSER = shutil.which("chromium")


@pytest.mark.skipif(BROWSER is None, reason="chromium is not installed")
def test_the_page_shows_its_plots_without_a_network(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from pycontain.compare.page import page

    rows = [
        Row(
            "container",
            "container",
            "",
            "a kernel",
            "pycontain run --rm hello",
            {"first": [0.06], "call": [20.0], "memory_next": [0.2]},
            {},
        ),
        Row(
            "machine (TCG)",
            "machine",
            "tcg",
            "a CPU",
            "pycontain run --rm --runtime vm hello",
            {"first": [0.3], "call": [0.9], "memory_next": [33.0]},
            {},
        ),
    ]
    (tmp_path / "page.html").write_text(
        page(Report("hello", [], rows, [], {"kernel": "6", "cpus": 2, "time": "t"}))
    )
    assert BROWSER is not None
    argv = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile",
            "--virtual-time-budget=2000", "--dump-dom", f"file://{tmp_path}/page.html"]  # fmt: skip
    done = subprocess.run(argv, capture_output=True, timeout=60, check=True)
    dom = done.stdout.decode()
    assert dom.count("</svg>") == 3 and "container or virtual machine?" in dom
    argv[-2] = f"--screenshot={tmp_path}/page.png"
    subprocess.run(
        [*argv[:-1], "--window-size=1000,2000", argv[-1]], capture_output=True, timeout=60, check=True
    )
    assert (tmp_path / "page.png").stat().st_size > 20_000
