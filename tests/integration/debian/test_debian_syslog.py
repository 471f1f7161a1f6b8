"""Programs that talk by unix datagrams: to a system logger, and to who supervises them."""

from __future__ import annotations

import pytest
from debian_user import DebianUser

pytestmark = pytest.mark.debian

RECEIVER = """
import os, socket, struct, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind('/dev/log')
os.chmod('/dev/log', 0o666)
s.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
print('ready', flush=True)
while True:
    data, control, flags, sender = s.recvmsg(8192, 100)
    pid, uid, gid = struct.unpack('3i', control[0][2])
    text = data.rstrip(b'\\0').decode().partition(': ')[2].strip()
    if text == 'end':
        break
    print(text, pid > 1, uid, gid, flags, sender, flush=True)
"""


def test_system_logger(either: DebianUser) -> None:
    """A receiver that asks for credentials; logger of two packages, perl, python and a shell send to it."""
    out = either.sh(
        f"""
        cat > /receiver.py <<'END'
{RECEIVER}
END
        mkfifo /ready; python3 /receiver.py > /ready & exec 3< /ready; read word <&3; echo $word
        logger -t one first; busybox logger -t two second; gosu nobody logger -t three third
        perl -e 'use Sys::Syslog; openlog("four", "", "user"); syslog("info", "fourth"); closelog'
        python3 -c "import syslog; syslog.openlog('five'); syslog.syslog('fifth')"
        python3 -c "import logging as l, logging.handlers as h; x = h.SysLogHandler('/dev/log'); x.ident = 'six: ';
l.getLogger().addHandler(x); l.warning('sixth')"
        seq 3 | logger -t seven; logger -t eight -i eighth; logger end
        cat <&3; wait
        """,
        shell="bash",
    )
    users = {"third": 65534}
    texts = ("first", "second", "third", "fourth", "fifth", "sixth", "1", "2", "3", "eighth")
    expected = [f"{text} True {users.get(text, 0)} {users.get(text, 0)} 0 None" for text in texts]
    assert out.splitlines() == ["ready", *expected]


def test_busybox_syslogd(either: DebianUser) -> None:
    out = either.sh(
        """
        busybox syslogd -n -O /log & while ! [ -S /dev/log ]; do sleep 0.02; done
        for i in 1 2 3; do logger -t test "line $i"; done; logger -p mail.err -t test failure
        while ! grep -q failure /log; do sleep 0.02; done
        kill %1; wait; logger -t test nobody || echo refused; sed 's/^.*root[]]*: //; s/.* test: /test: /' /log | grep test
        """,
        shell="bash",
    )
    lines = [line for line in out.splitlines() if line.startswith("test:")]
    assert [line for line in lines if "line" in line] == [f"test: line {n}" for n in (1, 2, 3)], out
    assert "test: failure" in lines, out
