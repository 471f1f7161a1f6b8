"""The build cache: what a step on a given file system made last time.

A key is a digest of the layers below (their diff_ids), of what the step does, and of the bytes it copies; so
it names a result, whatever Dockerfile the step stands in. A record is a small JSON file,
`<root>/cache/steps/<key>`, written by rename: concurrent builds never see half of one, and the last counts.

A record is only as good as its layer: where the layer has been collected, the step runs again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from pycontain.errors import ImageError, NotFound, StoreError
from pycontain.image.descriptor import Descriptor
from pycontain.store.newfile import NewFile

if TYPE_CHECKING:
    from pycontain.store import Store

VERSION = "1"
KEPT = 20_000  # records; the least recently used are dropped


class Record(NamedTuple):
    """created: RFC 3339, when the step was carried out."""

    descriptor: Descriptor
    diff_id: str
    created: str


def step_key(below: Sequence[str], facts: Sequence[str]) -> str:
    """The key of a step: facts are everything that its result depends on, beside the layers below."""
    text = json.dumps([VERSION, list(below), list(facts)], ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


class StepCache:
    """The records of one store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.directory = os.path.join(store.root, "cache", "steps")

    def get(self, key: str) -> Record | None:
        """The record of a key, whether its layer is still there or not."""
        try:
            with open(os.path.join(self.directory, key), "rb") as file:
                value = json.loads(file.read())
            return Record(Descriptor.from_json(value["layer"]), value["diff_id"], value["created"])
        except (OSError, ValueError, KeyError, TypeError, ImageError):
            return None  # absent or damaged: the step runs

    def usable(self, key: str) -> Record | None:
        """The record of a key whose layer is in the store."""
        record = self.get(key)
        if record is None or not self.store.blobs.has(record.descriptor.digest):
            return None
        try:
            self.store.layers.ensure(record.descriptor, record.diff_id)
            os.utime(os.path.join(self.directory, key))
        except (NotFound, StoreError, ImageError, OSError):
            return None
        return record

    def put(self, key: str, record: Record) -> None:
        os.makedirs(self.directory, exist_ok=True)
        value = {
            "layer": record.descriptor.to_json(),
            "diff_id": record.diff_id,
            "created": record.created,
        }
        new = NewFile(self.directory)
        try:
            new.write(json.dumps(value).encode())
            new.commit(os.path.join(self.directory, key), sync=False, replace=True)
        finally:
            new.close()

    def trim(self) -> None:
        """Drop the least recently used records over the limit."""
        try:
            names = os.listdir(self.directory)
        except FileNotFoundError:
            return
        if len(names) <= KEPT:
            return
        dated = []
        for name in names:
            try:
                dated.append((os.stat(os.path.join(self.directory, name)).st_mtime_ns, name))
            except FileNotFoundError:
                continue
        for _, name in sorted(dated)[: len(dated) - KEPT]:
            try:
                os.unlink(os.path.join(self.directory, name))
            except FileNotFoundError:
                continue  # another build was faster
