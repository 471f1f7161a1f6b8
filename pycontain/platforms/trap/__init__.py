"""The trap platform: programs run natively, seccomp user notification brings the calls that name things.

x86_64.py    what differs by processor: numbers, registers, machine code
host.py      the host's system calls that Python lacks
bpf.py       the seccomp filter, compiled from the kernel's table of calls
stub.py      the tiny ELF file that carries out a table of system calls
launch.py    the first process of a container, started by such a table
execute.py   execve: the stub becomes the container's program
platform.py  notifications, process events and memory, as the contract has them
injection.py calls that a task makes for us; fetching.py: by which it gives us descriptors
placement.py which processor tasks and the kernel run on
check.py     what this host lacks
"""
