"""What pull and push tell of how far they are."""

from __future__ import annotations

from typing import Protocol

# The words are Docker's: scripts look for them.
PULLING = "Pulling fs layer"
DOWNLOADING = "Downloading"
EXTRACTING = "Extracting"
PULLED = "Pull complete"
EXISTS = "Already exists"

PREPARING = "Preparing"
PUSHING = "Pushing"
PUSHED = "Pushed"
THERE = "Layer already exists"
MOUNTED = "Mounted from"
SKIPPED = "Skipped foreign layer"

RETRYING = "Retrying"


class Progress(Protocol):
    """Something that shows progress; called by several threads, so it locks for itself."""

    def layer(self, digest: str, status: str, done: int, total: int) -> None:
        """A layer is at a status, with done of total bytes moved. Called often; return quickly."""


class Silent:
    """Shows nothing."""

    def layer(self, digest: str, status: str, done: int, total: int) -> None:
        pass
