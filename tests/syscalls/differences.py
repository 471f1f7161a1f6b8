"""Where a container is known to differ from the host: the case, and why. The one list; kept honest by the tests,
which fail when a case of it has stopped to differ."""

from __future__ import annotations

OF_USERS: dict[str, str] = {
    "sockets/privileged_ports": "ports below 1024 are the host's to give, and the kernel of an ordinary user has no right to them",
}
"""What differs only where an ordinary user runs the kernel."""

DIFFERENCES: dict[str, str] = {
    "attributes/setuid_bits_and_open_without_writing": "writes are not seen, so setuid bits go when a file is opened for writing, not with the first write",
    "contents/copy_up_and_readers": "a reader of before the first write keeps the image's bytes, as on overlayfs before Linux 4.19",
    "identity/proc_shows_identity": "entries of /proc/self stay the process's own after it has changed its user",
    "naming/rename_whiteout": "RENAME_WHITEOUT answers EINVAL, as overlayfs does, which a container's root is",
    "opening/path_descriptors_in_native_calls": "an O_PATH descriptor is an ordinary one without access rights: calls that the host answers see that",
    "opening/status_flags_of_directories": "F_GETFL of a directory always shows O_DIRECTORY, never O_NONBLOCK or O_NOFOLLOW",
    "processes/waitid_tells_the_user": "waitid is native: its siginfo comes from the host, which knows processes under its own user",
    "procfs/rereading": "a file of /proc has the text of the moment when it was opened",
    "procfs/size_of_a_descriptor": "a file of /proc is a memory file with a size",
    "procfs/writing_to_figures": "root may not even try to write",
    "sessions/terminal_by_its_general_name": "/dev/tty gives a descriptor of the terminal itself",
    "signals/code_of_a_group_signal": "the kernel sends it and can name another sender by sigqueue(3) only, which shows in a siginfo that is awaited, not delivered",
    "signals/which_user_sent": "a siginfo that is awaited, not delivered, comes from the host, which knows processes under its own user",
    "sockets/address_of_a_client_with_a_name": "accept(2) is native and does not know the name that a client has bound; getpeername(2) does",
    "sockets/datagram_pair_ends": "a datagram pair is a SOCK_SEQPACKET pair",
}
