"""A storm of signals over what runs in a container: not one of its calls may be lost or done twice."""

from __future__ import annotations

from debian_user import DebianUser

SECONDS = 280

# storm.py SIGNAL COMMAND…: signals that nobody minds to all processes of the command's group, again and again, and
# SIGNAL to the first one, which makes /ready when it can take it
STORM = r"""
import os, signal, subprocess, sys
own = getattr(signal, sys.argv[1])
first = subprocess.Popen(sys.argv[2:], start_new_session=True)
while not os.path.exists("/ready") and first.poll() is None:
    signal.sigtimedwait([], 0.001)
sender = os.fork()
if not sender:
    try:
        while True:
            for number in (signal.SIGCHLD, signal.SIGWINCH, signal.SIGURG):
                os.killpg(first.pid, number)
            os.kill(first.pid, own)
            signal.sigtimedwait([], 0.0005)
    except ProcessLookupError:
        os._exit(0)
code = first.wait()
os.kill(sender, signal.SIGKILL)
os.waitpid(sender, 0)
sys.exit(code)
"""


def in_a_storm(user: DebianUser, own: str, script: str, *options: str, seconds: int = SECONDS) -> str:
    """What the shell script prints, in a new container; own: a signal that its first process handles or ignores."""
    out = user.sh(
        f'cat > /storm.py; python3 /storm.py {own} sh -c "$SCRIPT"',
        *("-e", f"SCRIPT={script}", *options),
        stdin=STORM,
        timeout=seconds,
    )
    assert user.failures().split() == ["unknown", "calls:", "none", "failures:", "none"]
    return out
