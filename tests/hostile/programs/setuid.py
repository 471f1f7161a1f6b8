"""An unprivileged user executes a setuid program, while a thread exchanges names and descriptors."""

import os
import random
import shutil
import sys
import threading
import time

from attempts import attempt

shutil.copy("/usr/bin/id", "/tmp/id")
os.chown("/tmp/id", 0, 0)
os.chmod("/tmp/id", 0o4755)
os.mkdir("/tmp/own", 0o777)
os.chmod("/tmp/own", 0o777)
shutil.copy("/usr/bin/whoami", "/tmp/own/program")
os.chmod("/tmp/own/program", 0o755)
os.symlink("program", "/tmp/own/link")
reader, writer = os.pipe()
child = os.fork()
if child == 0:
    os.setgroups([])
    os.setresgid(1000, 1000, 1000)
    os.setresuid(1000, 1000, 1000)
    attempt("a hard link to a setuid program", lambda: os.link("/tmp/id", "/tmp/own/linked"))
    for _ in range(int(sys.argv[1])):
        pid = os.fork()
        if pid == 0:
            os.dup2(writer, 1)
            os.dup2(writer, 2)
            mine = os.open("/tmp/own/program", os.O_RDONLY)

            def exchange():
                while True:
                    for name, target in (("own", "/tmp/own/program"), ("id", "/tmp/id")):
                        try:
                            os.symlink(target, f"/tmp/own/{name}")
                            os.rename(f"/tmp/own/{name}", "/tmp/own/link")
                        except OSError:
                            pass
                    for fd in range(mine + 1, mine + 8):
                        os.dup2(mine, fd)

            threading.Thread(target=exchange, daemon=True).start()
            for _ in range(20):
                time.sleep(random.random() * 0.003)
                try:
                    os.execve("/tmp/own/link", ["id"], {})
                except OSError:
                    pass
            os._exit(1)
        os.waitpid(pid, 0)
    os._exit(0)
os.close(writer)
text = b""
while data := os.read(reader, 65536):
    text += data
os.waitpid(child, 0)
# id runs with root's rights, the user's own program, which tells whose rights it has, must not
lines = text.splitlines()
print("id:", text.count(b"uid="), "with rights:", text.count(b"euid=0"), "whoami:", text.count(b"1000\n"))
attempt("rights", lambda: [line for line in lines if line == b"root"], lambda r: r == [])
attempt("setuid", lambda: text.count(b"uid=1000") - text.count(b"euid=0"), lambda r: r == 0)
print("end")
