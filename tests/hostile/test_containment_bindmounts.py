"""Symlinks, FIFOs and sockets in directories of the host that a container may write to."""

from __future__ import annotations

import os
import threading

from worlds import World


def test_nothing_leads_out_of_a_bind_mount(world: World) -> None:
    world.attack("bindmount", str(world.directory / "secret"), str(world.outside), "2000")
    assert (world.directory / "attack" / "attempts.py").stat().st_size > 0


def test_the_host_swaps_names_while_a_container_opens_them(world: World) -> None:
    """The host's own processes rename, as fast as they can; the container must never be led along their symlinks."""
    target, name = world.shared / "file", world.shared / "raced"
    target.write_text("own")
    os.chmod(world.shared, 0o777)
    stop = threading.Event()

    def swap() -> None:
        spare = world.shared / "spare"
        while not stop.is_set():
            for text in (str(world.directory / "secret"), "file"):
                spare.unlink(missing_ok=True)
                spare.symlink_to(text)
                spare.rename(name)
            os.mkfifo(spare)
            spare.rename(name)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        world.attack("opener", "/shared/raced", "5000")
    finally:
        stop.set()
        thread.join()
        for path in (target, name, world.shared / "spare"):
            path.unlink(missing_ok=True)


def test_a_mounted_file_swapped_below_another_mount(world: World) -> None:
    """The source of one mount lies in a directory that is another's: its name is the container's to change."""
    inner = world.shared / "inner"
    inner.write_text("own")
    if world.name != "root":
        os.chown(inner, world.uid, world.uid)
    text = world.run(
        *("sh", "-c", 'cat /inner; mv /shared/inner /shared/away; ln -s "$0" /shared/inner; cat /inner'),
        str(world.directory / "secret"),
        options=("-v", f"{inner}:/inner"),
    )
    assert text == "ownown"
    for name in ("inner", "away"):
        (world.shared / name).unlink(missing_ok=True)


def test_symlink_as_source_is_the_users_own_choice(world: World) -> None:
    """The one who starts a container may mount what a symlink of the host names; what lies in it may not do that."""
    (world.shared / "deep").mkdir(exist_ok=True)
    (world.shared / "deep" / "up").symlink_to("../../secret")
    done = world.run("cat", "/deep/up", options=("-v", f"{world.shared}/deep:/deep"), code=1)
    assert "No such file" in done
    (world.shared / "deep" / "up").unlink()
    (world.shared / "deep").rmdir()
