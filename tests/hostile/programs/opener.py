"""Open a name again and again; its content is the container's business only if it says so."""

import os
import sys

from attempts import attempt

path, tries = sys.argv[1], int(sys.argv[2])
seen = set()
for number in range(tries):
    for flags in (os.O_RDONLY | os.O_NONBLOCK, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK):
        try:
            fd = os.open(path, flags)
        except OSError:
            continue
        if flags & os.O_WRONLY == 0:
            try:
                seen.add(os.read(fd, 100))
            except OSError:
                pass
        os.close(fd)
attempt("what was seen", lambda: seen, lambda r: r <= {b"own", b""})
