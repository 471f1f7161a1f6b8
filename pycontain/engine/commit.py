"""commit: a container's changes become an image, one layer above the container's own."""

from __future__ import annotations

import time
from collections.abc import Callable

from pycontain.engine import clock
from pycontain.engine.containers import Container
from pycontain.engine.engine import Engine
from pycontain.engine.files import container_tree
from pycontain.errors import NotFound
from pycontain.image.config import History, ImageConfig
from pycontain.image.reference import Reference
from pycontain.store.images import Image
from pycontain.unionfs import diff


def commit(
    engine: Engine,
    container: Container,
    reference: Reference | None,
    *,
    author: str = "",
    message: str = "",
    change: Callable[[ImageConfig], ImageConfig] | None = None,
) -> Image:
    """Make the image; its config is the container's image's with what the container was started with.

    change may alter the config (the --change option). NotFound where the container's image is gone.
    """
    with engine.store.lease():
        return _commit(engine, container, reference, author, message, change)


def _commit(
    engine: Engine,
    container: Container,
    reference: Reference | None,
    author: str,
    message: str,
    change: Callable[[ImageConfig], ImageConfig] | None,
) -> Image:
    try:
        base = engine.store.image(container.record["Image"])
    except NotFound:
        raise NotFound(
            f"commit {container.name}: its image {container.record['ImageName']} was removed",
            hint="pull or build it again",
        ) from None
    tree = container_tree(engine, container)
    with engine.store.layers.sink() as sink:
        diff.write_layer(tree, sink.write)
        descriptor, layer = sink.finish()
    created = clock.rfc3339(time.time_ns())
    own = container.record["Config"]
    run = base.config.config
    run = run._replace(
        user=own["User"],
        env=tuple(own["Env"]),
        cmd=tuple(own["Cmd"]) if own["Cmd"] is not None else None,
        entrypoint=tuple(own["Entrypoint"]) if own["Entrypoint"] is not None else None,
        working_dir=own["WorkingDir"] if own["WorkingDir"] != "/" else run.working_dir,
        labels=own["Labels"],
        stop_signal=own["StopSignal"],
    )
    step = History(created, " ".join([container.record["Path"], *container.record["Args"]]), author, message)
    config = base.config._replace(config=run, created=created, author=author or base.config.author)
    config = config.with_layer(layer.diff_id, step)
    if change is not None:
        config = change(config)
    return engine.store.add_image(config, [*base.manifest.layers, descriptor], reference)
