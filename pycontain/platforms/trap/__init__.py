"""The trap platform: programs run natively, seccomp user notification brings the calls that name things.

x86_64.py    what differs by processor: numbers, registers, machine code
host.py      the host's system calls that Python lacks
bpf.py       the seccomp filter, compiled from the kernel's table of calls
stub.py      the tiny ELF file that carries out a table of system calls
launch.py    the first process of a container, started by such a table
execute.py   execve: the stub becomes the container's program
platform.py  all of it, as the contract has it, and how a program starts. It is made of
    answering.py  calls that come as notifications, and their answers
    errands.py    what tasks are made to do for us: injection.py (calls), fetching.py (descriptors),
                  watching.py (a second filter)
    events.py     the life-cycle of tasks, and with signals.py what stops them
fastpath/    calls that are answered before Python sees them
traced.py    what is known of a task, and its memory
placement.py which processor tasks and the kernel run on
check.py     what this host lacks
"""
