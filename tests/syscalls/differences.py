"""Where a container is known to differ from the host: the case, and why. The one list; kept honest by the tests,
which fail when a case of it has stopped to differ."""

from __future__ import annotations

DIFFERENCES: dict[str, str] = {}
