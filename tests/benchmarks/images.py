"""Import, pull and push of a root of 12,000 files and 400 MB; a fully cached build; the kernel's memory."""

from __future__ import annotations

import collections
import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable

import zstandard

import registry
from tests.benchmarks.measuring import Row, interleaved, milliseconds, timed
from tests.benchmarks.subjects import BASE, Ours, Podman

FILES, BYTES = 12_000, 400_000_000

DOCKERFILE = """FROM host/base
ENV A=1
WORKDIR /app
COPY . .
RUN cat data > more
RUN sort data > sorted
CMD ["cat", "sorted"]
"""


def root_archive(path: str) -> None:
    """A root file system as tar.zst: sizes as in Debian's (many small files, a few large), half compressible."""
    noise = b"".join(hashlib.sha256(n.to_bytes(4, "little")).digest() for n in range(32768))  # 1 MiB
    sizes = [300 + 7919 * n % 9000 for n in range(FILES - 200)]
    rest = (BYTES - sum(sizes)) // 200
    compressor = zstandard.ZstdCompressor(level=3)
    with (
        open(path, "wb") as out,
        compressor.stream_writer(out) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        for number, size in enumerate([*sizes, *[rest] * 200]):
            half = size // 2
            start = number * 4099 % (1 << 19)
            content = (noise[start:] * (half // (1 << 19) + 2))[:half] + b"text of a file\n" * (
                size // 15 + 1
            )
            info = tarfile.TarInfo(f"usr/{number % 97}/{number % 13}/file{number}")
            info.size, info.mtime, info.mode = size, 1_700_000_000 + number, 0o644
            tar.addfile(info, io.BytesIO(content[:size]))


def import_and_pull(directory: str, peer: Podman | None, rounds: int) -> list[Row]:
    """Each time into an empty store."""
    archive = os.path.join(directory, "root.tar.zst")
    root_archive(archive)
    source = Ours(os.path.join(directory, "source"))
    source("import", archive, "big")
    rows = [
        _compare("import", directory, peer, rounds, lambda ours: ours("import", archive, "big"), [archive])
    ]
    with registry.serve(os.path.join(directory, "registry"), durable=False) as server:
        name = f"localhost:{server.port}/big"
        source("tag", "big", name)
        source("push", "-q", name)
        rows.append(_compare("pull", directory, peer, rounds, lambda ours: ours("pull", "-q", name), [name]))
    return rows


def _compare(
    verb: str,
    directory: str,
    peer: Podman | None,
    rounds: int,
    ours: Callable[[Ours], object],
    words: list[str],
) -> Row:
    place = os.path.join(directory, "fresh")

    def mine() -> None:
        ours(Ours(place))

    def theirs() -> None:
        fresh = Podman(place)
        options = ["--tls-verify=false"] if verb == "pull" else []
        fresh(verb, *options, *words)

    def clear() -> None:
        if os.path.exists(os.path.join(place, "podman")):
            Podman(place).close()
        shutil.rmtree(place, ignore_errors=True)
        os.makedirs(place)

    times: dict[str, list[float]] = {"mine": [], "theirs": []}
    for _ in range(rounds):
        clear()
        times["mine"].append(timed(mine))
        clear()
        if peer is not None:
            times["theirs"].append(timed(theirs))
    clear()
    found = sorted(times["mine"])[len(times["mine"]) // 2]
    what = f"{verb} of 400 MB in 12,000 files, zstd"
    if peer is None:
        return Row(what, milliseconds(found), "no podman", None, "at most half of podman's time", None)
    other = sorted(times["theirs"])[len(times["theirs"]) // 2]
    return Row(
        what,
        milliseconds(found),
        milliseconds(other),
        found / other,
        "at most half of podman's time",
        found <= other / 2,
    )


def memory(directory: str) -> list[Row]:
    """Of the kernel process with the large image: one container, then two."""
    ours = Ours(os.path.join(directory, "source"))
    context = os.path.join(directory, "with-sleep")
    os.makedirs(context)
    with open(os.path.join(context, "Dockerfile"), "w") as file:
        file.write("FROM host/base AS base\nFROM big\nCOPY --from=base / /\n")
    ours("build", "-q", "-t", "big-sleep", context)
    sizes = []
    for number in range(3):
        ours("run", "-d", "--name", f"m{number}", "big-sleep", "sleep", "600")
        sizes.append(json.loads(ours("kernel", "status", "--format", "json"))["memory"]["RssAnon"])
    ours("rm", "-f", "m0", "m1", "m2")
    ours.close()
    first, more = sizes[0], sizes[2] - sizes[1]
    return [
        Row("kernel's memory with that image", f"{first / 1e6:.0f} MB", "-", None, "120 MB", first <= 120e6),
        Row("... a further container of it", f"{more / 1e6:.1f} MB", "-", None, "3 MB", more <= 3e6),
    ]


def cached_build(directory: str, ours: Ours, peer: Podman | None, rounds: int) -> Row:
    """A build of which every step is cached."""
    context = os.path.join(directory, "context")
    os.makedirs(context)
    for name, text in (("Dockerfile", DOCKERFILE), ("data", "b\na\n")):
        with open(os.path.join(context, name), "w") as file:
            file.write(text)

    def mine() -> object:
        return ours("build", "-q", "-t", "cached", context)

    what = "a fully cached build"
    if peer is None:
        (found,) = interleaved(rounds, mine)
        return Row(what, milliseconds(found), "no podman", None, "at most 0.3 s", found <= 0.3)

    def theirs() -> object:
        words = ("--layers", "--network=host", "--ulimit", "nofile=1024:1024", "-q", "-t", "cached", context)
        return peer("build", *words)

    try:
        theirs()
    except RuntimeError:  # its builds do not work everywhere that its containers do
        (found,) = interleaved(rounds, mine)
        return Row(what, milliseconds(found), "podman fails", None, "at most 0.3 s", found <= 0.3)
    found, other = interleaved(rounds, mine, theirs)
    return Row(what, milliseconds(found), milliseconds(other), found / other, "at most 0.3 s", found <= 0.3)


def unchanged_push(directory: str, ours: Ours) -> Row:
    """Which requests a push makes of which nothing is new."""
    methods: collections.Counter[str] = collections.Counter()

    def log(client: str, line: str, *rest: object) -> None:
        methods[line.split(" ", 1)[0]] += 1

    with registry.serve(os.path.join(directory, "counted"), durable=False, log=log) as server:
        name = f"localhost:{server.port}/base"
        ours("tag", BASE, name)
        ours("push", "-q", name)
        methods.clear()
        ours("push", "-q", name)
    ours("rmi", name)
    shown = ", ".join(f"{count} {method}" for method, count in sorted(methods.items()))
    return Row("push of an unchanged image", shown, "-", None, "HEAD requests only", set(methods) <= {"HEAD"})
