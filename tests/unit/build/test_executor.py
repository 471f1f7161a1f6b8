"""Whole builds on a real store; RUN runs on a kernel of 40 lines that changes trees as it is told."""

from __future__ import annotations

import io
import json
import os
import socket
import stat
import tarfile
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pycontain.build.builder import build
from pycontain.build.progress import Progress
from pycontain.errors import BuildError, ImageError, NotFound, PycontainError
from pycontain.image.digest import digest_bytes
from pycontain.store import Image, Store
from pycontain.unionfs.image import ImageTree
from pycontain.unionfs.tree import Tree


class FakeSession:
    def __init__(self, code: int, output: list[tuple[int, bytes]]) -> None:
        self.code = code
        self.output = output

    def run(self, on_output: Callable[[int, bytes], None]) -> int:
        for stream, data in self.output:
            on_output(stream, data)
        return self.code

    def signal(self, signum: int) -> None:
        raise AssertionError(f"nobody sends signals here: {signum}")


class FakeKernel:
    """Carries out `write PATH TEXT`, `remove PATH`, `say TEXT`, `env NAME`, `fail CODE`; counts its runs."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.specs: list[dict[str, Any]] = []

    def start(self, spec: dict[str, Any], stdin: int | None = None) -> FakeSession:
        self.specs.append(spec)
        image = ImageTree.merge([self.store.layers.get(diff_id) for diff_id in spec["layers"]])
        tree = Tree(image, spec["directory"], journal=True)
        environment = dict(item.decode().partition("=")[::2] for item in spec["env"])
        output: list[tuple[int, bytes]] = []
        code = 0
        for line in spec["args"][-1].decode().splitlines():
            verb, _, rest = line.strip().partition(" ")
            first, _, text = rest.partition(" ")
            if verb == "write":
                self._write(tree, first, text)
            elif verb == "remove":
                directory = tree.walk(os.path.dirname(first).encode())
                tree.unlink(directory, os.path.basename(first).encode())
            elif verb == "say":
                output.append((1, rest.encode() + b"\n"))
            elif verb == "env":
                self._write(tree, "/env", environment.get(first, "unset"))
            elif verb == "fail":
                code = int(first)
        tree.sync()
        tree.close()
        return FakeSession(code, output)

    def _write(self, tree: Tree, path: str, text: str) -> None:
        directory = tree.walk(os.path.dirname(path).encode())
        tree.write_bytes(directory, os.path.basename(path).encode(), text.encode(), mode=0o755)


class World:
    """A store, a context and a kernel; `build` builds what it is given."""

    def __init__(self, root: Path) -> None:
        self.store = Store.open(str(root / "store"))
        self.kernel = FakeKernel(self.store)
        self.context = root / "context"
        self.context.mkdir()
        self.log = io.StringIO()

    def file(self, name: str, text: str = "", mode: int = 0o644) -> Path:
        path = self.context / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    def build(self, text: str = "", *, context: str = "", file: str = "", **options: Any) -> Image:
        """text: the Dockerfile; "" takes the one that is there."""
        self.log = io.StringIO()
        if text:
            self.file("Dockerfile", text)
        options.setdefault("progress", Progress(self.log))
        context = context or str(self.context)
        return build(self.store, context, file, start_kernel=lambda: self.kernel, **options)

    def tree(self, image: Image) -> Tree:
        return Tree(ImageTree.merge([self.store.layers.get(diff_id) for diff_id in image.config.diff_ids]))

    def paths(self, image: Image) -> list[str]:
        tree = self.tree(image)
        out: list[str] = []
        todo = [(b"", tree.root)]
        while todo:
            path, node = todo.pop()
            for name, child in (node.children or {}).items():
                where = path + b"/" + name
                out.append(where.decode())
                todo.append((where, child))
        return sorted(out)

    def read(self, image: Image, path: str) -> str:
        tree = self.tree(image)
        return tree.read_bytes(tree.walk(path.encode())).decode()

    @property
    def cached(self) -> int:
        """Steps that the last build took from the cache."""
        lines = self.log.getvalue().splitlines()
        return sum(" CACHED " in line for line in lines)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


SIMPLE = """FROM scratch
COPY a /a
RUN write /b one
WORKDIR /w
ENV x=1
COPY dir .
CMD ["/a"]
"""


def test_a_build(world: World) -> None:
    world.file("a", "text", 0o755)
    world.file("dir/f", "f")
    image = world.build(SIMPLE, tags=["hello", "other:1"])
    assert world.paths(image) == ["/a", "/b", "/w", "/w/f"]
    assert world.read(image, "/b") == "one"
    config = image.config
    assert config.config.cmd == ("/a",)
    assert len(config.diff_ids) == len(image.manifest.layers) == 4
    assert [step.empty_layer for step in config.history] == [False, False, False, True, False, True]
    assert all(step.created and step.comment == "buildkit.dockerfile.v0" for step in config.history)
    assert config.created == config.history[-1].created
    assert world.store.image("hello").id == world.store.image("other:1").id == image.id
    assert stat.S_IMODE(world.tree(image).walk(b"/a").mode) == 0o755


def test_a_second_build_is_the_same_image_and_runs_nothing(world: World) -> None:
    world.file("a")
    world.file("dir/f")
    first = world.build(SIMPLE)
    second = world.build(SIMPLE)
    assert first.id == second.id
    assert first.descriptor.digest == second.descriptor.digest
    assert (world.cached, len(world.kernel.specs)) == (4, 1)
    assert world.build(SIMPLE, no_cache=True).id != ""
    assert (world.cached, len(world.kernel.specs)) == (0, 2)


@pytest.mark.parametrize(
    ("change", "cached"),
    [
        (lambda world: world.file("unused", "x"), 4),
        (lambda world: os.utime(world.context / "a", ns=(1, 1)), 4),
        (lambda world: world.file("dir/f", "other"), 3),
        (lambda world: world.file("dir/new", "x"), 3),
        (lambda world: world.file("a", "other"), 0),
        (lambda world: (world.context / "a").chmod(0o600), 0),
        (lambda world: world.file("Dockerfile", SIMPLE.replace("ENV x=1", "ENV x=2")), 4),
        (lambda world: world.file("Dockerfile", SIMPLE.replace("one", "two")), 1),
        (lambda world: world.file("Dockerfile", "ARG y=1\n" + SIMPLE), 4),
        # RUN runs again, and its layer comes out the same: what stands on it need not be made again
        (lambda world: world.file("Dockerfile", SIMPLE.replace("RUN", "ENV x=2\nRUN")), 3),
        (lambda world: world.file("Dockerfile", SIMPLE.replace("RUN", "LABEL x=2\nRUN")), 4),
        (lambda world: world.file("Dockerfile", SIMPLE.replace("RUN", "USER 5\nRUN")), 1),
    ],
)
def test_what_the_cache_looks_at(world: World, change: Callable[[World], object], cached: int) -> None:
    world.file("a", "a")
    world.file("dir/f", "f")
    epoch = {"SOURCE_DATE_EPOCH": "1"}
    world.build(SIMPLE, build_args=epoch)
    change(world)
    world.build(build_args=epoch)
    assert world.cached == cached


def test_the_cache_does_not_outlive_its_layers(world: World) -> None:
    world.file("a")
    world.file("dir/f")
    first = world.build(SIMPLE)
    os.unlink(world.store.blobs.path(first.manifest.layers[1].digest))
    world.build(SIMPLE)
    assert len(world.kernel.specs) == 2


def test_a_stage_that_is_only_copied_from_may_be_gone(world: World) -> None:
    text = "FROM scratch AS made\nRUN write /big x\nFROM scratch\nCOPY --from=made /big /copy\n"
    image = world.build(text, tags=["kept"])
    for name in os.listdir(world.store.root + "/blobs/sha256"):
        if "sha256:" + name not in (
            image.descriptor.digest,
            image.id,
            *(layer.digest for layer in image.manifest.layers),
        ):
            os.unlink(world.store.blobs.path("sha256:" + name))
    again = world.build(text)
    assert again.id == image.id
    assert len(world.kernel.specs) == 1


def test_the_same_bytes_from_another_stage_are_cached(world: World) -> None:
    text = "FROM scratch AS made\nRUN write /x same\n{}FROM scratch\nCOPY --from=made /x /y\nRUN write /z z\n"
    first = world.build(text.format(""))
    second = world.build(text.format("RUN write /other {}\n"))
    assert first.config.diff_ids == second.config.diff_ids
    assert len(world.kernel.specs) == 3


def test_run_sees_its_layers_environment_and_user(world: World) -> None:
    image = world.build(
        "FROM scratch\nARG v=1\nENV e=2\nUSER 5:6\nWORKDIR /w\nRUN write /x x\nRUN env v\nRUN remove /x",
        build_args={"v": "3"},
    )
    spec = world.kernel.specs[0]
    assert spec["args"] == [b"/bin/sh", b"-c", b"write /x x"]
    assert {b"v=3", b"e=2"} < set(spec["env"])
    assert (spec["cwd"], spec["user"], len(spec["layers"])) == (b"/w", "5:6", 1)
    assert len(world.kernel.specs[1]["layers"]) == 2
    assert world.read(image, "/env") == "3"
    assert "/x" not in world.paths(image)
    info = world.tree(image).walk(b"/w")
    assert (info.uid, info.gid) == (5, 6)


def test_a_run_that_fails(world: World) -> None:
    with pytest.raises(BuildError) as caught:
        world.build("FROM scratch\n\nRUN say before\\\n\\\n&& x\nRUN <<EOF\nsay one\nsay two\nfail 2\nEOF")
    assert caught.value.exit_code == 1
    text = str(caught.value)
    assert text.startswith("Dockerfile:6: RUN <<EOF (say one...): exit code 2")
    assert text.splitlines()[1:] == ["      | one", "      | two"]
    assert os.listdir(world.store.tmp) == []


def test_output_is_shown_with_its_step(world: World) -> None:
    world.build("FROM scratch\nRUN say hello\nRUN say again")
    lines = world.log.getvalue().splitlines()
    assert lines[:3] == ["[1/3] FROM scratch", "[2/3] RUN say hello", "      | hello"]
    assert lines[3].startswith("[2/3] DONE ")
    assert lines[-1].startswith("sha256:")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("FROM scratch\nCOPY nothing /", '"/nothing" not found in the build context'),
        ("FROM scratch\nCOPY ../../etc/passwd /", "does not reach outside of it"),
        ("FROM scratch\nCOPY ignored /", ".dockerignore excludes it"),
        ("FROM scratch\nCOPY out /", '"/out" not found'),
        ("FROM scratch\nCOPY --chown=nobody a /", "unable to find user nobody"),
        ("FROM scratch\nCOPY --chmod=9 a /", "invalid chmod parameter"),
        ("FROM scratch\nCOPY a Dockerfile /x", "must be a directory and end with a /"),
        ("FROM scratch\nUSER me\nWORKDIR /x", "unable to find user me"),
        ("FROM scratch\nADD http://127.0.0.1:9/x /", "download http://127.0.0.1:9/x"),
        ("FROM scratch\nADD --checksum=sha256:0 http://127.0.0.1:9/x /", "digest"),
    ],
)
def test_a_step_that_fails(world: World, text: str, reason: str) -> None:
    world.file("a")
    world.file("ignored")
    world.file(".dockerignore", "ignored\n")
    os.symlink("/etc/passwd", world.context / "out")
    with pytest.raises(BuildError) as caught:
        world.build(text)
    assert reason in str(caught.value)
    assert str(caught.value).startswith(f"Dockerfile:{len(text.splitlines())}: ")
    assert caught.value.exit_code == 125


def test_copy_into_layers_below(world: World) -> None:
    world.file("f", "new")
    image = world.build(
        "FROM scratch AS base\nCOPY <<a <<b /d/\none\na\ntwo\nb\n"
        "FROM base\nCOPY --chown=3:4 --chmod=600 f /d/a\n"
    )
    assert world.read(image, "/d/a") == "new"
    assert world.read(image, "/d/b") == "two\n"
    info = world.tree(image).walk(b"/d/a")
    assert (info.uid, info.gid, stat.S_IMODE(info.mode)) == (3, 4, 0o600)


def test_link_does_not_depend_on_what_is_below(world: World) -> None:
    world.file("f", "text")
    text = "FROM scratch\nRUN write /{} x\nCOPY --link f /d/f\n"
    first = world.build(text.format("a"))
    second = world.build(text.format("b"))
    assert world.cached == 1
    assert first.config.diff_ids[1] == second.config.diff_ids[1]
    assert world.paths(second) == ["/b", "/d", "/d/f"]


def test_add_unpacks_archives_of_the_context(world: World) -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        info = tarfile.TarInfo("sub/file")
        info.size = 4
        archive.addfile(info, io.BytesIO(b"text"))
    (world.context / "a.tgz").write_bytes(data.getvalue())
    image = world.build("FROM scratch\nADD a.tgz /to/\nCOPY a.tgz /\nADD --unpack=false a.tgz /kept\n")
    assert world.paths(image) == ["/a.tgz", "/kept", "/to", "/to/sub", "/to/sub/file"]


def test_add_of_a_url(world: World) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path.startswith("/dir/") else 404)
            self.send_header("Last-Modified", "Thu, 01 Jan 1970 00:01:00 GMT")
            self.end_headers()
            self.wfile.write(b"remote")

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        digest = digest_bytes(b"remote")
        image = world.build(
            f"FROM scratch\nADD --checksum={digest} {url}/dir/file?x=1 /d/\nADD {url}/dir/ /\n"
        )
        assert world.paths(image) == ["/__unnamed__", "/d", "/d/file"]
        info = world.tree(image).stat(world.tree(image).walk(b"/d/file"))
        assert (stat.S_IMODE(info.mode), info.mtime) == (0o600, 60 * 10**9)
        with pytest.raises(BuildError, match="digest mismatch"):
            world.build(f"FROM scratch\nADD --checksum=sha256:{'0' * 64} {url}/dir/file /d/\n")
        with pytest.raises(BuildError, match="the server answered 404"):
            world.build(f"FROM scratch\nADD {url}/x /d/\n")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_base_images_and_their_triggers(world: World) -> None:
    world.file("f", "f")
    world.build(
        'FROM scratch\nENV base=1\nRUN write /base b\nONBUILD COPY f /trigger\nCMD ["x"]', tags=["parent"]
    )
    parent = world.store.image("parent")
    child = world.build("FROM parent\nRUN write /child c", tags=["child"])
    assert world.paths(child) == ["/base", "/child", "/trigger"]
    assert child.config.diff_ids[: len(parent.config.diff_ids)] == parent.config.diff_ids
    assert child.config.history[: len(parent.config.history)] == parent.config.history
    assert child.config.config.cmd == ("x",)
    assert child.config.config.on_build == ()
    other = world.build("FROM scratch\nCOPY --from=parent /base /x")
    assert world.read(other, "/x") == "b"


def test_an_image_that_is_nowhere(world: World) -> None:
    def nowhere(reference: object, platform: object) -> Image:
        raise NotFound(f"no image {reference}")

    with pytest.raises(BuildError, match="Dockerfile:2: no image docker"):
        world.build("ARG x\nFROM nowhere", find_image=nowhere)


def test_source_date_epoch_makes_builds_repeatable(tmp_path: Path) -> None:
    ids = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        world = World(tmp_path / name)
        world.file("a")
        world.file("dir/f")
        image = world.build(SIMPLE, build_args={"SOURCE_DATE_EPOCH": "1000000000"})
        ids.append(image.id)
        assert image.config.created == "2001-09-09T01:46:40Z"
        tree = world.tree(image)
        for path in (b"/a", b"/b", b"/w", b"/w/f"):
            assert tree.stat(tree.walk(path)).mtime == 10**18
    assert ids[0] == ids[1]


@pytest.mark.parametrize("compression", ["gzip", "none", "zstd"])
def test_compression(world: World, compression: str) -> None:
    world.file("a", "text" * 1000)
    world.file("dir/f")
    first = world.build(SIMPLE)
    image = world.build(SIMPLE, compression=compression)
    endings = {"gzip": "+gzip", "none": ".tar", "zstd": "+zstd"}
    assert all(layer.media_type.endswith(endings[compression]) for layer in image.manifest.layers)
    assert image.config.diff_ids == first.config.diff_ids
    assert len(world.kernel.specs) == 1


def test_labels_target_and_unused_arguments(world: World) -> None:
    image = world.build(
        "FROM scratch AS one\nRUN write /1 x\nFROM scratch\nRUN fail 1",
        target="one",
        labels={"l": "v"},
        build_args={"nobody": "1"},
    )
    assert image.config.config.labels == {"l": "v"}
    assert "warning: the build argument nobody was given" in world.log.getvalue()


def test_a_pattern_without_matches_warns(world: World) -> None:
    world.build("FROM scratch\nCOPY x* /")
    assert "warning: Dockerfile:2: x* matches nothing" in world.log.getvalue()


def test_sockets_are_left_out_with_a_warning(world: World) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(world.file("d/f").with_name("s")))
        image = world.build("FROM scratch\nCOPY d /d\n")
    assert world.paths(image) == ["/d", "/d/f"]
    assert world.log.getvalue().count("/d/s is a socket: left out") == 1


def test_directories_too_deep_for_the_host(world: World) -> None:
    here = os.open(world.context, os.O_RDONLY)
    for _ in range(30):
        os.mkdir("x" * 200, dir_fd=here)
        below = os.open("x" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    with pytest.raises(BuildError, match=r"Dockerfile:2: COPY \. /: .*File name too long"):
        world.build("FROM scratch\nCOPY . /\n")


def test_dockerfile_and_context_from_standard_input(world: World) -> None:
    world.file("f", "f")
    dockerfile = b"FROM scratch\nCOPY f /\n"
    image = world.build(file="-", stdin=io.BytesIO(dockerfile))
    assert world.paths(image) == ["/f"]
    image = world.build(context="-", stdin=io.BytesIO(b"FROM scratch\nLABEL a=1"))
    assert image.config.config.labels == {"a": "1"}


def context_tar(**files: str) -> io.BytesIO:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(name.replace("__", "/").replace("_", "."))
            info.size, info.uid, info.mode = len(text), 1000, 0o640
            archive.addfile(info, io.BytesIO(text.encode()))
    out.seek(0)
    return out


def test_a_tar_as_context(world: World) -> None:
    tar = context_tar(
        Dockerfile="FROM scratch\nCOPY . /\n",
        sub__file="text",
        sub__no="x",
        _dockerignore="sub/no\nDockerfile\n.docker*",
    )
    image = world.build(context="-", stdin=tar)
    assert world.paths(image) == ["/sub", "/sub/file"]
    info = world.tree(image).walk(b"/sub/file")
    assert (info.uid, stat.S_IMODE(info.mode)) == (0, 0o640)
    tar = context_tar(other="FROM scratch\nCOPY f /\n", f="x")
    assert world.paths(world.build(context="-", file="other", stdin=tar)) == ["/f"]
    with pytest.raises(BuildError, match="no Dockerfile in the context"):
        world.build(context="-", stdin=context_tar(f="x"))
    with pytest.raises(BuildError, match="damaged"):
        data = context_tar(Dockerfile="FROM scratch").getvalue()[:80]
        world.build(context="-", stdin=io.BytesIO(data))


@pytest.mark.parametrize(
    ("context", "file", "reason"),
    [
        ("/nonexistent", "", "no such directory"),
        ("/etc/passwd", "", "not a directory"),
        ("https://example.com/x.git", "", "not supported yet: the context https://example.com/x.git"),
        (".", "/nonexistent", "read /nonexistent: No such file"),
        ("-", "-", "can not both come from standard input"),
    ],
)
def test_where_nothing_can_be_built(world: World, context: str, file: str, reason: str) -> None:
    with pytest.raises(BuildError) as caught:
        world.build(context=context, file=file, stdin=io.BytesIO())
    assert reason in str(caught.value)


def test_a_dockerfiles_own_ignore_file(world: World) -> None:
    world.file("a")
    world.file("b")
    world.file(".dockerignore", "a")
    world.file("other", "FROM scratch\nCOPY . /\n")
    world.file("other.dockerignore", "b\nother*\n.docker*")
    image = world.build(file=str(world.context / "other"))
    assert world.paths(image) == ["/a"]


@pytest.mark.parametrize("tag", ["UPPER", "a@sha256:" + "0" * 64, "a:b:c", ""])
def test_bad_tags_are_refused_before_anything_runs(world: World, tag: str) -> None:
    with pytest.raises((BuildError, ImageError)):
        world.build("FROM scratch\nRUN fail 1", tags=[tag])
    assert world.kernel.specs == []


def test_a_damaged_cache_is_no_cache(world: World) -> None:
    world.file("a")
    world.file("dir/f")
    world.build(SIMPLE)
    directory = Path(world.store.root, "cache", "steps")
    damages = ["", "{", "[]", '{"layer": 1}', json.dumps({"layer": {}, "diff_id": 5, "created": None})]
    for number, path in enumerate(sorted(directory.iterdir())):
        path.write_text(damages[number % len(damages)])
    world.build(SIMPLE)
    assert world.cached == 0


def test_concurrent_builds(world: World) -> None:
    world.file("a")
    world.file("dir/f")
    world.file("Dockerfile", SIMPLE)
    failures: list[BaseException] = []
    ids: list[str] = []

    def one() -> None:
        try:
            image = build(
                Store.open(world.store.root),
                str(world.context),
                tags=["same"],
                build_args={"SOURCE_DATE_EPOCH": "5"},
                progress=Progress(io.StringIO()),
                start_kernel=lambda: world.kernel,
            )
            ids.append(image.id)
        except PycontainError as error:
            failures.append(error)

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(set(ids)) == 1
    assert world.store.image("same").id == ids[0]
