"""Carries out a plan: each step from the cache, or on the tree of the layers so far.

A stage is only built when something needs its files: where a COPY --from is in the cache, the stage that it
copies from is not looked at, whether its layers still exist or not.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from pycontain.build.cache import Record, StepCache, step_key
from pycontain.build.progress import Progress
from pycontain.build.running import Kernel, StepFailed, run
from pycontain.build.selection import Selection, checksum, exclusions, select
from pycontain.build.source import Source
from pycontain.build.steps import CopyStep, Note, Origin, Plan, RunStep, Stage, Step, WorkdirStep
from pycontain.build.urls import file_name, is_url
from pycontain.errors import BuildError, ContainerError, ImageError
from pycontain.image.config import History, ImageConfig
from pycontain.image.descriptor import Descriptor
from pycontain.image.media_types import compression_of
from pycontain.image.platform import Platform

if TYPE_CHECKING:
    from pycontain.store import Store
    from pycontain.unionfs.image import ImageTree
    from pycontain.unionfs.tree import Tree

COMMENT = "buildkit.dockerfile.v0"  # what history readers know this kind of history by


class LayerRef(NamedTuple):
    descriptor: Descriptor
    diff_id: str


class Built(NamedTuple):
    """A stage so far: its layers, and its history since the base image (created is None for a note)."""

    layers: tuple[LayerRef, ...]
    history: tuple[History, ...]

    @property
    def diff_ids(self) -> tuple[str, ...]:
        return tuple(layer.diff_id for layer in self.layers)


class Options(NamedTuple):
    """How a plan is carried out. compression: "zstd", "gzip" or "none". shm_size: bytes, 0 for the default."""

    no_cache: bool = False
    compression: str = "zstd"
    shm_size: int = 0


class Executor:
    """One execution. context is called once, when the first step copies from it."""

    def __init__(
        self,
        store: Store,
        plan: Plan,
        context: Callable[[], Source],
        progress: Progress,
        start_kernel: Callable[[], Kernel],
        options: Options,
    ) -> None:
        self.store = store
        self.plan = plan
        self.progress = progress
        self.options = options
        self.cache = StepCache(store)
        self._open_context = context
        self._start_kernel = start_kernel
        self._context: Source | None = None
        self._kernel: Kernel | None = None
        self._built: dict[int, Built] = {}
        self._known: dict[int, tuple[str, ...] | None] = {}
        self._downloads: dict[str, Any] = {}
        self._selected: dict[int, tuple[CopyStep, list[Selection], str]] = {}
        self._merged: tuple[tuple[str, ...], ImageTree] | None = None
        self._scratch = ExitStack()
        self._directory = ""
        self.wrote = False

    def build(self) -> tuple[ImageConfig, tuple[Descriptor, ...]]:
        """Build the target: its config, and its layers. Raises BuildError with file and line."""
        with self._scratch:
            built = self._stage(self.plan.target)
        stage = self.plan.stages[self.plan.target]
        epoch = None if self.plan.epoch is None else rfc3339(self.plan.epoch * 10**9)
        history = dated((*stage.config.history, *built.history), len(stage.config.history), epoch)
        created = epoch or next((step.created for step in reversed(history) if step.created), None)
        config = stage.config._replace(created=created, diff_ids=built.diff_ids, history=history)
        return config, tuple(layer.descriptor for layer in built.layers)

    # -- stages

    def _stage(self, index: int) -> Built:
        """Build a stage, its base before it."""
        built = self._built.get(index)
        if built is not None:
            return built
        stage = self.plan.stages[index]
        built = self._base(stage.base)
        self.progress.line(f"{self._label(stage, 1)} FROM {stage.base_title}")
        number = 1
        for step in stage.steps:
            if isinstance(step, Note):
                built = Built(built.layers, (*built.history, self._history(step, None)))
                continue
            number += 1
            record = self._step(stage, step, built, self._label(stage, number))
            layer = LayerRef(record.descriptor, record.diff_id)
            history = self._history(step, record.created)
            built = Built((*built.layers, layer), (*built.history, history))
        self._built[index] = built
        return built

    def _base(self, base: Origin) -> Built:
        if base is None:
            return Built((), ())
        if isinstance(base, int):
            return self._stage(base)
        layers = zip(base.manifest.layers, base.config.diff_ids, strict=True)
        return Built(tuple(LayerRef(descriptor, diff_id) for descriptor, diff_id in layers), ())

    def _known_layers(self, origin: Origin) -> tuple[str, ...] | None:
        """The diff_ids of a stage or image as far as records tell, without building; else None."""
        if origin is None:
            return ()
        if not isinstance(origin, int):
            return tuple(origin.config.diff_ids)
        if origin in self._built:
            return self._built[origin].diff_ids
        if origin not in self._known:
            self._known[origin] = self._follow_records(self.plan.stages[origin])
        return self._known[origin]

    def _follow_records(self, stage: Stage) -> tuple[str, ...] | None:
        below = self._known_layers(stage.base)
        for step in stage.steps:
            if isinstance(step, Note):
                continue
            if below is None or self.options.no_cache:
                return None
            key = self._key(step, below)
            record = self.cache.get(key) if key else None
            if record is None:
                return None
            below = (*below, record.diff_id)
        return below

    # -- steps

    def _step(self, stage: Stage, step: Step, built: Built, label: str) -> Record:
        """One step's layer, from the cache or made now."""
        file, line = self.plan.file, step.line
        try:
            record = self._cached(step, built)
            if record is None and isinstance(step, CopyStep) and isinstance(step.origin, int):
                self._stage(step.origin)
                record = self._cached_content(step, built)
            if record is not None:
                self.progress.cached(label, step.title)
                return self._compressed(record)
            self.progress.step(label, step.title)
            try:
                record = self._carry_out(stage, step, built)
            except BaseException:
                self.progress.failed()
                raise
        except ContainerError as error:
            raise StepFailed(
                f"{step.title}: {error.message}", file=file, line=line, hint=error.hint
            ) from None
        except (ValueError, ImageError) as error:
            raise BuildError(f"{step.title}: {error}", file=file, line=line) from None
        except OSError as error:
            reason = error.strerror or str(error)
            name = f" {os.fsdecode(error.filename)}:" if error.filename else ""
            raise BuildError(f"{step.title}:{name} {reason}", file=file, line=line) from error
        self.progress.done()
        self.wrote = True
        return record

    def _cached(self, step: Step, built: Built) -> Record | None:
        if self.options.no_cache:
            return None
        key = self._key(step, built.diff_ids)
        return self.cache.usable(key) if key else None

    def _cached_content(self, step: CopyStep, built: Built) -> Record | None:
        """A copy of the same bytes from another stage, whatever that stage was made from."""
        if self.options.no_cache:
            return None
        record = self.cache.usable(self._copy_key(step, built.diff_ids, self._taken(step)[1]))
        definition = self._key(step, built.diff_ids)
        if record is not None and definition:
            self.cache.put(definition, record)
        return record

    def _key(self, step: Step, below: Sequence[str]) -> str | None:
        """The key of a step on the layers below; None where it depends on a stage that is not known yet."""
        epoch = str(self.plan.epoch)
        if isinstance(step, RunStep):
            facts = ["run", *step.arguments, "", *step.keyed_environment, "", step.user, step.directory]
            return step_key(below, [*facts, step.network, step.script or "", epoch])
        if isinstance(step, WorkdirStep):
            return step_key(below, ["workdir", step.path, step.user, epoch])
        assert isinstance(step, CopyStep)
        if step.origin is None:
            return self._copy_key(step, below, self._taken(step)[1])
        origin = self._known_layers(step.origin)
        if origin is None:
            return None
        return self._copy_key(step, below, step_key(origin, ["sources", *step.sources]))

    def _copy_key(self, step: CopyStep, below: Sequence[str], content: str) -> str:
        facts = [
            str(step.unpack),
            os.fsdecode(step.destination),
            step.chown,
            step.chmod,
            str(step.link),
            *step.exclude,
            "",
            *(part for body in step.bodies for part in body),
            "",
            content,
            str(self.plan.epoch),
        ]
        alone = step.link and not re.search("[^0-9:]", step.chown)  # names need the files below
        return step_key(() if alone else below, facts)

    def _taken(self, step: CopyStep) -> tuple[list[Selection], str]:
        """What a COPY or ADD takes, and a digest of it; its source does not change while we build."""
        known = self._selected.get(id(step))
        if known is None:
            selections = self._select(step, self._source(step.origin))
            known = self._selected[id(step)] = step, selections, self._content(step, selections)
        return known[1], known[2]

    def _content(self, step: CopyStep, selections: Sequence[Selection]) -> str:
        """A digest of all that a COPY or ADD takes from its source and from URLs."""
        remote = []
        for url in filter(is_url, step.sources):
            # A checksum names the bytes: they need not be fetched to be known.
            digest = step.checksum or self._download(url, "").digest
            remote.append(f"{file_name(url)} {digest}")
        single = len(selections) + len(remote) + len(step.bodies) == 1
        return step_key((str(single),), [checksum(selections), *remote])

    def _select(self, step: CopyStep, source: Source) -> list[Selection]:
        exclude = exclusions(step.exclude)
        selections: list[Selection] = []
        for pattern in step.sources:
            if is_url(pattern):
                continue
            chosen = select(source, pattern, exclude)
            if not chosen:
                self.progress.warn(f"{self.plan.file}:{step.line}: {pattern} matches nothing")
            selections.extend(chosen)
        return selections

    # -- carrying out

    def _carry_out(self, stage: Stage, step: Step, built: Built) -> Record:
        if isinstance(step, RunStep):
            record = self._run(stage, step, built)
        elif isinstance(step, WorkdirStep):
            record = self._workdir(step, built)
        else:
            assert isinstance(step, CopyStep)
            record = self._copy(step, built)
        key = self._key(step, built.diff_ids)
        if key:
            self.cache.put(key, record)
        return record

    def _run(self, stage: Stage, step: RunStep, built: Built) -> Record:
        from pycontain.unionfs.tree import Tree  # not needed where everything is cached

        architecture = Platform.host().architecture
        if stage.platform.architecture != architecture:
            raise ValueError(f"not supported yet: programs for {stage.platform} on {architecture}")
        if self._kernel is None:
            self._kernel = self._start_kernel()
        with self.store.tmp_dir("build-run-") as directory:
            code = run(
                self._kernel,
                step,
                built.diff_ids,
                directory,
                self.progress.output,
                shm_size=self.options.shm_size,
            )
            if code:
                tail = "".join(f"\n      | {line}" for line in self.progress.tail)
                message = f"{step.title}: exit code {code}{tail}"
                raise StepFailed(message, file=self.plan.file, line=step.line)
            return self._layer(Tree.load(self._tree(built.diff_ids), directory))

    def _workdir(self, step: WorkdirStep, built: Built) -> Record:
        from pycontain.build.owners import parse_owner
        from pycontain.build.placing import Placer
        from pycontain.unionfs.tree import Tree

        with self.store.tmp_dir("build-copy-") as directory:
            tree = Tree(self._tree(built.diff_ids), directory)
            owner = parse_owner(step.user, tree) if step.user else None
            Placer(tree, owner=owner, mtime=self._mtime).directory(os.fsencode(step.path))
            return self._layer(tree)

    def _copy(self, step: CopyStep, built: Built) -> Record:
        from pycontain.build.held import HeldFile
        from pycontain.build.modes import parse_chmod
        from pycontain.build.owners import parse_owner
        from pycontain.build.placing import Placer
        from pycontain.unionfs.tree import Tree

        selections, content = self._taken(step)
        content = self._copy_key(step, built.diff_ids, content)
        chosen = list(selections)
        for source in step.sources:
            if is_url(source):
                got = self._download(source, step.checksum)
                chosen.append(HeldFile(got.path, os.fsencode(got.name), 0o600, got.mtime).selection())
        with self.store.tmp_dir("build-copy-") as directory:
            tree = Tree(self._tree(() if step.link else built.diff_ids), directory)
            owner = None
            if step.chown:
                owner = parse_owner(step.chown, Tree(self._tree(built.diff_ids)))
            chmod = parse_chmod(step.chmod) if step.chmod else None
            placer = Placer(tree, owner=owner, chmod=chmod, mtime=self._mtime)
            for number, (name, text) in enumerate(step.bodies):
                path = os.path.join(directory, f"body{number}")
                with open(path, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
                    file.write(text)
                chosen.append(HeldFile(path, os.fsencode(name), 0o644, time.time_ns()).selection())
            if step.unpack is not False:
                chosen = self._unpack(step, tree, placer, chosen)
            placer.copy(chosen, step.destination)
            record = self._layer(tree)
        self.cache.put(content, record)
        return record

    def _unpack(self, step: CopyStep, tree: Tree, placer: Any, chosen: list[Selection]) -> list[Selection]:
        """Unpack the archives of an ADD; what is none is left to be copied."""
        from pycontain.build.archive import extract, is_archive

        rest = []
        remote: set[str] = set()
        if step.unpack is None:
            remote = {self._download(url, step.checksum).path for url in step.sources if is_url(url)}
        for selection in chosen:
            if not selection.root.is_regular:
                rest.append(selection)
                continue
            path = selection.source.host_path(selection.root)
            if path in remote or not is_archive(path):
                rest.append(selection)
            else:
                extract(path, tree, step.destination, owner=placer.owner, mtime=placer.mtime)
        return rest

    # -- parts

    @property
    def _mtime(self) -> int | None:
        return None if self.plan.epoch is None else self.plan.epoch * 10**9

    def _source(self, origin: Origin) -> Source:
        if origin is None:
            if self._context is None:
                self._context = self._open_context()
            return self._context
        from pycontain.build.treesource import TreeSource
        from pycontain.unionfs.tree import Tree

        if isinstance(origin, int):
            stage = self.plan.stages[origin]
            description = f"stage {stage.name or stage.number}"
            return TreeSource(Tree(self._tree(self._stage(origin).diff_ids)), description)
        return TreeSource(Tree(self._tree(tuple(origin.config.diff_ids))), f"image {origin.reference}")

    def _tree(self, diff_ids: tuple[str, ...]) -> ImageTree:
        from pycontain.unionfs.image import ImageTree

        if self._merged is None or self._merged[0] != diff_ids:
            layers = [self.store.layers.get(diff_id) for diff_id in diff_ids]
            self._merged = (diff_ids, ImageTree.merge(layers))
        return self._merged[1]

    def _layer(self, tree: Tree) -> Record:
        """What a tree has changed, as a layer of the store."""
        from pycontain.unionfs.diff import write_layer

        with self.store.layers.sink(self.options.compression) as sink:
            write_layer(tree, sink.write, source_date_epoch=self.plan.epoch, subsecond=False)
            descriptor, layer = sink.finish()
        tree.close()
        now = time.time_ns() if self.plan.epoch is None else self.plan.epoch * 10**9
        return Record(descriptor, layer.diff_id, rfc3339(now))

    def _compressed(self, record: Record) -> Record:
        """The same layer in the compression that is asked for."""
        if compression_of(record.descriptor.media_type) == self.options.compression:
            return record
        layer = self.store.layers.get(record.diff_id)
        with (
            open(layer.tar_path, "rb") as tar,
            self.store.layers.sink(self.options.compression) as sink,
        ):
            while chunk := tar.read(1 << 20):
                sink.write(chunk)
            descriptor, _ = sink.finish()
        return record._replace(descriptor=descriptor)

    def _download(self, url: str, checksum: str) -> Any:
        """A URL's file, fetched once per build."""
        from pycontain.build.remote import download  # imports ssl

        if url not in self._downloads:
            if not self._directory:
                self._directory = self._scratch.enter_context(self.store.tmp_dir("build-add-"))
            path = os.path.join(self._directory, str(len(self._downloads)))
            self._downloads[url] = download(url, path, checksum)
        return self._downloads[url]

    def _history(self, step: Step, created: str | None) -> History:
        return History(created, step.created_by, None, COMMENT, isinstance(step, Note))

    def _label(self, stage: Stage, number: int) -> str:
        name = (
            f"{stage.name} " if stage.name else f"stage-{stage.number} " if len(self.plan.stages) > 1 else ""
        )
        return f"[{name}{number}/{stage.total}]"


def rfc3339(nanoseconds: int) -> str:
    """A time as images have it: 2026-01-31T12:00:00.123456789Z."""
    seconds, fraction = divmod(nanoseconds, 10**9)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{fraction:09d}".rstrip("0").rstrip(".") + "Z"


def dated(history: Sequence[History], base: int, epoch: str | None) -> tuple[History, ...]:
    """Give the notes among a history's new entries a time: that of the layer before, else of the one behind.

    So a build that is all in the cache gives the same image again. base: entries of the base image.
    """
    if epoch is not None:
        return (*history[:base], *(step._replace(created=epoch) for step in history[base:]))
    first = next((step.created for step in history[base:] if step.created), None)
    last = first or next((step.created for step in reversed(history[:base]) if step.created), None)
    out = list(history[:base])
    for step in history[base:]:
        last = step.created or last
        out.append(step._replace(created=last))
    return tuple(out)
