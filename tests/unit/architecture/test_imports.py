"""Imports go one way; the exception tree is the one that its docstring draws; public names exist."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pycontain
from pycontain import errors

ROOT = Path(pycontain.__file__).parent.parent

ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "image": {"errors"},
    "unionfs": {"errors", "image"},
    "store": {"errors", "image", "unionfs"},
    "client": {"errors", "image", "store"},
    "platforms": {"errors"},
    "kernel": {"errors", "image", "store", "unionfs", "platforms"},
    "vm": {"errors", "image", "store", "unionfs", "kernel", "platforms"},
    "build": {"errors", "image", "store", "unionfs", "client", "kernel"},
    "engine": {"errors", "image", "store", "unionfs", "client", "kernel", "build", "vm"},
    "compare": {"errors", "image", "store", "unionfs", "engine", "vm", "kernel"},
    "registry": {"errors", "image"},
}
"""Part -> the parts that it may import. cli, testing and __main__ may import anything."""

ANYTHING = {"cli", "testing", "__main__", "__init__"}


def _modules() -> Iterator[tuple[str, str, Path]]:
    """Part, dotted name and file of each of our modules."""
    for top in ("pycontain", "registry"):
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ("registry" if top == "registry" else parts[1]), ".".join(parts), path


def _imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every import of ours in a file, also those within functions: part, and line."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "registry":
                yield "registry", node.lineno
            elif parts[0] == "pycontain" and len(parts) > 1 and parts[1] != "__version__":
                yield parts[1], node.lineno


def test_imports_go_one_way() -> None:
    wrong = []
    for part, name, path in _modules():
        if part in ANYTHING:
            continue
        assert part in ALLOWED, f"{name}: where does {part} stand in the order of imports?"
        wrong += [
            f"{path}:{line}: {part} imports {target}"
            for target, line in _imports(path)
            if target != part and target not in ALLOWED[part]
        ]
    assert wrong == []


def test_the_order_has_no_circle() -> None:
    done: set[str] = set()
    while len(done) < len(ALLOWED):
        ready = {part for part, needs in ALLOWED.items() if part not in done and needs <= done}
        assert ready, f"a circle among {sorted(set(ALLOWED) - done)}"
        done |= ready


def test_the_kernel_names_no_concrete_platform_but_where_it_is_started() -> None:
    users = {
        name
        for part, name, path in _modules()
        if part == "kernel" and "pycontain.platforms.trap" in path.read_text()
    }
    assert len(users) <= 1, users


def _drawn_tree() -> dict[str, str]:
    """Class -> parent, as the docstring of pycontain.errors draws them."""
    assert errors.__doc__ is not None
    found: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for line in errors.__doc__.splitlines():
        name = line.strip("│├└─ ").partition(" ")[0]
        if not name.endswith(("Error", "Mismatch", "Found", "Conflict", "Run")) or not line.startswith(
            "    "
        ):
            continue
        depth = line.index(name)
        while above and above[-1][0] >= depth:
            above.pop()
        found[name] = above[-1][1] if above else "Exception"
        above.append((depth, name))
    return found


def test_the_exception_tree_is_as_drawn() -> None:
    real = {
        name: value.__base__.__name__
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, Exception) and value.__base__ is not None
    }
    assert _drawn_tree() == real
    assert len(real) > 10


def test_every_error_has_one_line_and_docker_s_exit_code() -> None:
    for name in _drawn_tree():
        kind = getattr(errors, name)
        assert str(kind("message", hint="a hint")) == "message (a hint)"
        assert kind("message").exit_code == {"CannotRun": 126, "ProgramNotFound": 127}.get(name, 125)


@pytest.mark.parametrize("name", ["pycontain.image", "pycontain.store"])
def test_public_names_are_there(name: str) -> None:
    module = importlib.import_module(name)
    assert sorted(module.__all__) == list(module.__all__)
    for public in module.__all__:
        assert hasattr(module, public)


def test_the_start_of_a_container_loads_nothing_heavy() -> None:
    """What `run` imports to find an image; each of these costs milliseconds."""
    heavy = [
        "zstandard",
        "tarfile",
        "ssl",
        "urllib.request",
        "http.client",
        "asyncio",
        "dataclasses",
        "msgpack",
        "hashlib",
    ]
    code = (
        "import sys; before = set(sys.modules); from pycontain.store import Store; "
        "print([m for m in sys.argv[1:] if m in set(sys.modules) - before])"
    )
    done = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
