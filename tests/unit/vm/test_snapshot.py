"""Snapshots on disk: what is left when putting one back is interrupted, and what is no snapshot."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from pycontain.errors import MachineError, NotFound
from pycontain.vm import leftovers, snapshot


def tree(path: Path) -> dict[str, str]:
    return {str(p.relative_to(path)): p.read_text() for p in sorted(path.rglob("*")) if p.is_file()}


def test_putting_changes_back_is_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, container = tmp_path / "source", tmp_path / "container"
    for place, word in ((source / "base", "old"), (container, "new")):
        (place / "files").mkdir(parents=True)
        (place / "journal").write_text(word)
        (place / "files" / word).write_text(word)

    def fails(*_: Any, **__: Any) -> None:
        raise OSError("interrupted")

    for name in ("copytree", "copyfile"):
        with monkeypatch.context() as patch:
            patch.setattr(shutil, name, fails)
            with pytest.raises(OSError, match="interrupted"):
                snapshot._put_base(str(source), str(container))
            assert "journal" not in tree(container)
    snapshot._put_base(str(source), str(container))
    assert tree(container) == {"journal": "old", "files/old": "old"}
    shutil.rmtree(source / "base")
    snapshot._put_base(str(source), str(container))
    assert tree(container) == {}


@pytest.mark.parametrize("content", ["", "[]", '{"format": 1}', "{"])
def test_what_is_no_snapshot_of_ours_can_be_removed(tmp_path: Path, content: str) -> None:
    place = tmp_path / "vm" / "snapshots" / "odd"
    place.mkdir(parents=True)
    (place / "snapshot.json").write_text(content)
    with pytest.raises(MachineError, match="read snapshot odd") as caught:
        snapshot.read(str(tmp_path), "odd")
    assert caught.value.hint == "pycontain vm rm odd"
    assert snapshot.tags(str(tmp_path)) == ["odd"]
    snapshot.remove(str(tmp_path), "odd")
    assert list(place.parent.iterdir()) == []
    with pytest.raises(NotFound):
        snapshot.remove(str(tmp_path), "odd")


def test_what_of_the_host_s_a_snapshot_has() -> None:
    mounts = [
        {"type": "bind", "source": "/root/containers/abc/hosts", "target": "/etc/hosts"},
        {"type": "bind", "source": "/root/containers/abc/log", "target": "/etc/hosts"},
        {"type": "bind", "source": "/root/containers/other/hosts", "target": "/etc/hosts"},
        {"type": "bind", "source": "/etc/shadow", "target": "/x"},
        {"type": "tmpfs", "target": "/t"},
    ]
    record = {"Id": "abc", "Spec": {"mounts": mounts}}
    kept = {"shares": [[700, {"path": "/data"}]], "record": record}
    wanted = ["/data", "/etc/shadow", "/root/containers/abc/log", "/root/containers/other/hosts"]
    assert snapshot.shared(kept) == wanted
    mounts[3]["source"] = "/etc/hosts"
    for identity in ("/etc", "..", "", "../etc"):
        record["Id"] = identity
        assert "/etc/hosts" in snapshot.shared(kept)


def test_leftovers_are_removed_by_whom_nobody_is_beside(tmp_path: Path) -> None:
    run, snapshots = tmp_path / "vm" / "run", tmp_path / "vm" / "snapshots"

    def fill() -> None:
        for path in (run / "abc", snapshots / "half~12", snapshots / "whole"):
            path.mkdir(parents=True, exist_ok=True)

    fill()
    first = leftovers.claim(str(tmp_path))
    assert list(run.iterdir()) == [] and [path.name for path in snapshots.iterdir()] == ["whole"]
    fill()
    second = leftovers.claim(str(tmp_path))  # the first one's machines run
    assert len(list(run.iterdir())) == 1 and len(list(snapshots.iterdir())) == 2
    os.close(first)
    os.close(second)
