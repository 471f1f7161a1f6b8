"""The shared emulated kernel. See README.md beside this file.

control.py    the client's side: what commands import
__main__.py   the kernel process; server.py, session.py, streams.py: what clients ask of it
connection.py a client of the kernel's; wire.py: the socket of any client, of this server or of the machines'
kernel.py     containers, tasks, life-cycle; container.py, task.py, credentials.py
table.py      every system call and what happens to it; calls/ the functions
vfs/          mounts, path resolution, file systems
ipc.py        System V objects and message queues, and who may use them; filelocks.py: flock
limits.py     memory, processors, tasks; cgroup.py: where the host keeps them; usage.py, load.py, stats.py: figures
setup.py      from a specification to a container; loader.py from a path to a program
"""
