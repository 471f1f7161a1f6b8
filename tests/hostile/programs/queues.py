"""POSIX message queues. make: one of our own, kept open; find: look for those of others."""

import ctypes
import os
import struct
import sys
import time

libc = ctypes.CDLL(None, use_errno=True)
MQ_OPEN, MQ_UNLINK = 240, 241

if sys.argv[1] == "make":
    attributes = struct.pack("<8q", 0, 2, 64, 0, 0, 0, 0, 0)
    fd = libc.syscall(MQ_OPEN, b"secret", os.O_CREAT | os.O_RDWR, 0o666, attributes)
    libc.mq_send(fd, sys.argv[2].encode(), len(sys.argv[2]), 0)
    print("made" if fd >= 0 else os.strerror(ctypes.get_errno()), flush=True)
    time.sleep(100)
for name in (b"secret", *(word.encode() for word in sys.argv[2:])):
    for shown in (name, b"../" + name, name + b"\0x"):
        fd = libc.syscall(MQ_OPEN, shown, os.O_RDWR, 0, None)
        print("ESCAPED" if fd >= 0 else "no queue", shown)
        print("ESCAPED" if libc.syscall(MQ_UNLINK, shown) == 0 else "not removed", shown)
print("end")
