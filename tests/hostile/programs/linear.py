"""Make children one after the other, never more than asked for, and say when the host refused."""

import os
import signal
import sys

made = []
try:
    for _ in range(int(sys.argv[1])):
        pid = os.fork()
        if pid == 0:
            signal.pause()
            os._exit(0)
        made.append(pid)
    print("refused: never")
except OSError as error:
    print("refused:", error)
finally:
    for pid in made:
        os.kill(pid, signal.SIGKILL)
    for pid in made:
        os.waitpid(pid, 0)
print("made", len(made))
