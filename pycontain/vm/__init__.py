"""The full-VM backend: the same images, each in a virtual machine with its own Linux kernel.

General layout:

    erofs.py erofs_content.py   a root file system image out of a union tree
    cpio.py initrd.py           the initial ramdisk: the agent and the kernel's modules
    assembler.py agent.py       the guest's first program, generated: it carries out tables of system calls
    table.py                    such tables, written on the host: the guest's whole user space is scripted from here
    guest_kernel.py deb.py      find a guest kernel, or fetch and unpack Debian's
    vmlinux.py lz4.py module.py the uncompressed kernel in it, and its modules
    qemu.py qmp.py launcher.py  QEMU: found, started (dies with us), spoken to
    accel.py                    whether KVM really works: measured
    template.py                 a machine booted once, cloned copy-on-write for every start
    channel.py guest.py         the conversation with the agent; what is said to set up a container in a guest
    machine.py session.py       a running machine, and the programs in it; mounting.py: its container's root
    upper.py syncing.py share.py  changed files brought home; host directories served to the guest (FUSE)
    snapshot.py                 running machines saved, restored, cloned, moved
    uml/                        the same under User-Mode Linux, a kernel that is a process of the host
    usage.py processes.py       what a machine costs the host; what runs in it
    running.py connection.py feed.py cloner.py   of the server: a container's machine, a client, its input, templates
    server.py client.py         the process that holds a store's machines; it speaks the emulated kernel's protocol
"""
