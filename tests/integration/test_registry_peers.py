"""Our registry with skopeo, podman and buildah; our client with Debian's docker-registry.

Whatever goes which way: the digests are the same on both sides.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import registry
from pycontain.client import Silent, pull, push
from pycontain.client.repository import Repository
from pycontain.client.transport import Transport
from pycontain.image.config import ImageConfig
from pycontain.image.platform import Platform
from pycontain.image.reference import Reference
from pycontain.store import Image, Store
from pycontain.unionfs.tarwriter import TarWriter

pytestmark = pytest.mark.peer


def need(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


def run(*arguments: str, **environment: str) -> str:
    done = subprocess.run(arguments, capture_output=True, text=True, env={**os.environ, **environment})
    assert done.returncode == 0, f"{' '.join(arguments)}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[str]:
    """The address of our registry."""
    with registry.serve(str(tmp_path / "ours")) as server:
        yield server.address


@pytest.fixture
def theirs(tmp_path: Path) -> Iterator[str]:
    """The address of Debian's docker-registry."""
    program = need("docker-registry")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    config = tmp_path / "theirs.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {tmp_path}/theirs}}\n"
        f"  delete: {{enabled: true}}\nhttp: {{addr: '{address}'}}\n"
    )
    with subprocess.Popen([program, "serve", str(config)], stderr=subprocess.DEVNULL) as process:
        try:
            host, _, port = address.partition(":")
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                try:
                    socket.create_connection((host, int(port)), timeout=1).close()
                    break
                except OSError:
                    time.sleep(0.05)
            yield address
        finally:
            process.terminate()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


@pytest.fixture
def other(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "other"))


def make_image(store: Store, name: str, compression: str = "gzip") -> Image:
    """Two layers, one of some size, with the kinds of entries that tools read differently."""
    descriptors, diff_ids = [], []
    for number, size in enumerate((400_000, 3)):
        with store.layers.sink(compression) as sink:
            writer = TarWriter(sink.write)
            directory = b"d%d" % number
            writer.add(directory, mode=0o40755)
            content = [os.urandom(size)]
            writer.add(directory + b"/data", mode=0o100644, mtime_ns=10**9, size=size, content=content)
            writer.add(directory + b"/link", mode=0o120777, link=b"data")
            writer.close()
            descriptor, layer = sink.finish()
        descriptors.append(descriptor)
        diff_ids.append(layer.diff_id)
    config = ImageConfig("amd64", "linux", diff_ids=tuple(diff_ids))
    return store.add_image(config, descriptors, Reference.parse(name))


def digest_at(address: str, path: str, tag: str) -> str | None:
    with Transport(address) as transport:
        return Repository(transport, path).manifest_digest(tag)


# --- our client, their registry


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_our_client_with_docker_registry(theirs: str, store: Store, other: Store, compression: str) -> None:
    ref = Reference.parse(f"{theirs}/team/app:1")
    image = make_image(store, str(ref), compression)
    assert push(store, ref, Silent()).digest == image.descriptor.digest
    assert digest_at(theirs, "team/app", "1") == image.descriptor.digest
    again = pull(other, ref, None, Silent())
    assert (again.id, again.descriptor.digest) == (image.id, image.descriptor.digest)
    neighbour = Reference.parse(f"{theirs}/team/copy:1")  # mounted
    store.tags.set(neighbour, image.descriptor)
    assert push(store, neighbour, Silent()).digest == image.descriptor.digest


def test_docker_registry_to_ours_and_back_with_skopeo(
    theirs: str, ours: str, store: Store, other: Store
) -> None:
    need("skopeo")
    image = make_image(store, f"{theirs}/app:1")
    assert image.reference
    push(store, image.reference, Silent())
    insecure = ("--src-tls-verify=false", "--dest-tls-verify=false")
    run("skopeo", "copy", *insecure, f"docker://{theirs}/app:1", f"docker://{ours}/app:1")
    run("skopeo", "copy", *insecure, f"docker://{ours}/app:1", f"docker://{theirs}/back:1")
    for address, path in ((ours, "app"), (theirs, "back")):
        assert digest_at(address, path, "1") == image.descriptor.digest
    assert pull(other, Reference.parse(f"{ours}/app:1"), None, Silent()).id == image.id


def test_docker_schema_2_keeps_its_digest(theirs: str, ours: str, store: Store, tmp_path: Path) -> None:
    need("skopeo")
    make_image(store, "app:1")
    source = f"oci:{store.root}:docker.io/library/app:1"
    run("skopeo", "copy", "-f", "v2s2", "--dest-tls-verify=false", source, f"docker://{theirs}/app:1")
    ref = Reference.parse(f"{theirs}/app:1")
    image = pull(store, ref, None, Silent())
    assert image.descriptor.media_type == "application/vnd.docker.distribution.manifest.v2+json"
    here = Reference.parse(f"{ours}/app:1")
    store.tags.set(here, image.target)
    assert push(store, here, Silent()).digest == digest_at(theirs, "app", "1")


# --- our registry, their clients


def test_skopeo_reads_and_writes(ours: str, store: Store, other: Store, tmp_path: Path) -> None:
    need("skopeo")
    image = make_image(store, f"{ours}/app:1", "zstd")
    assert image.reference
    push(store, image.reference, Silent())
    run("skopeo", "copy", "--src-tls-verify=false", f"docker://{ours}/app:1", f"oci:{tmp_path}/layout:x")
    index = json.loads((tmp_path / "layout" / "index.json").read_text())
    assert index["manifests"][0]["digest"] == image.descriptor.digest
    run("skopeo", "copy", "--dest-tls-verify=false", f"oci:{tmp_path}/layout:x", f"docker://{ours}/copy:1")
    inspected = json.loads(run("skopeo", "inspect", "--tls-verify=false", f"docker://{ours}/copy:1"))
    assert inspected["Digest"] == image.descriptor.digest and inspected["RepoTags"] == ["1"]
    assert pull(other, Reference.parse(f"{ours}/copy:1"), None, Silent()).id == image.id
    run("skopeo", "delete", "--tls-verify=false", f"docker://{ours}/copy:1")
    assert digest_at(ours, "copy", "1") is None


def test_skopeo_copies_an_index_with_all_platforms(ours: str, store: Store, tmp_path: Path) -> None:
    need("skopeo")
    first = make_image(store, f"{ours}/app:amd64")
    second = make_image(store, f"{ours}/app:arm64")
    for image in (first, second):
        assert image.reference
        push(store, image.reference, Silent())
    index = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [
            child._replace(annotations=None, platform=Platform("linux", name)).to_json()
            for child, name in ((first.descriptor, "amd64"), (second.descriptor, "arm64"))
        ],
    }
    with Transport(ours) as transport:
        data = json.dumps(index).encode()
        Repository(transport, "app", push=True).put_manifest("all", data, str(index["mediaType"]))
    run("skopeo", "copy", "--all", "--src-tls-verify=false", "--dest-tls-verify=false",
        f"docker://{ours}/app:all", f"docker://{ours}/copy:all")  # fmt: skip
    assert digest_at(ours, "copy", "all") == digest_at(ours, "app", "all")


def test_skopeo_with_a_password_over_tls(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("skopeo")
    keys = [f"{tmp_path}/ca.key", f"{tmp_path}/ca.crt"]
    run(need("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
        "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "36500",
        "-keyout", keys[0], "-out", keys[1])  # fmt: skip
    line = subprocess.run(
        [sys.executable, "-m", "registry", "htpasswd", "ann"],
        input="secret\n",
        capture_output=True,
        text=True,
    ).stdout
    (tmp_path / "passwords").write_text(line)
    with registry.serve(
        str(tmp_path / "root"), htpasswd=str(tmp_path / "passwords"), tls_cert=keys[1], tls_key=keys[0]
    ) as server:
        address = f"localhost:{server.port}"
        image = make_image(store, f"{address}/app:1")
        # Ours: the same certificate as a root, the password from docker's configuration.
        (tmp_path / "config.json").write_text(json.dumps({"auths": {address: {"auth": "YW5uOnNlY3JldA=="}}}))
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
        monkeypatch.setenv("SSL_CERT_FILE", keys[1])
        assert push(store, Reference.parse(f"{address}/app:1"), Silent()).digest == image.descriptor.digest
        # Theirs
        (tmp_path / "certs").mkdir()
        shutil.copy(keys[1], tmp_path / "certs" / "ca.crt")
        own = ("--creds", "ann:secret", "--cert-dir", f"{tmp_path}/certs")
        inspected = json.loads(run("skopeo", "inspect", *own, f"docker://{address}/app:1"))
        assert inspected["Digest"] == image.descriptor.digest


class OwnStorage:
    """podman and buildah with a storage of its own, which needs no privileged file system."""

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def __call__(self, program: str, *arguments: str) -> str:
        where = self._directory
        own = ["--root", f"{where}/root", "--runroot", f"{where}/run", "--storage-driver", "vfs"]
        if program == "podman":
            own += ["--runtime", "runc", "--cgroup-manager", "cgroupfs"]
        return run(need(program), *own, *arguments)


@pytest.fixture
def containers() -> Iterator[OwnStorage]:
    with tempfile.TemporaryDirectory() as directory:  # podman wants a short path
        yield OwnStorage(directory)


def test_podman_pulls_and_pushes(ours: str, store: Store, other: Store, containers: OwnStorage) -> None:
    need("podman")
    image = make_image(store, f"{ours}/app:1")
    assert image.reference
    push(store, image.reference, Silent())
    pulled = containers("podman", "pull", "-q", "--tls-verify=false", f"{ours}/app:1").strip()
    assert f"sha256:{pulled}" == image.id
    inspected = json.loads(containers("podman", "image", "inspect", f"{ours}/app:1"))
    assert inspected[0]["Digest"] == image.descriptor.digest
    containers("podman", "push", "-q", "--tls-verify=false", f"{ours}/app:1", f"{ours}/back:1")
    again = pull(other, Reference.parse(f"{ours}/back:1"), None, Silent())
    assert again.config.diff_ids == image.config.diff_ids


def test_buildah_commits_to_us(ours: str, store: Store, containers: OwnStorage, tmp_path: Path) -> None:
    need("buildah")
    (tmp_path / "file").write_text("content")
    container = containers("buildah", "from", "scratch").strip()
    containers("buildah", "copy", container, f"{tmp_path}/file", "/file")
    containers("buildah", "commit", "-q", "--tls-verify=false", container, f"docker://{ours}/built:1")
    image = pull(store, Reference.parse(f"{ours}/built:1"), None, Silent())
    assert image.descriptor.digest == digest_at(ours, "built", "1")
    assert [entry.path for entry in image.layers[0].entries() if entry.path] == [b"file"]
