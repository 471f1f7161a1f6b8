"""The full-VM backend: the same images, each in a virtual machine with its own Linux kernel.

General layout:

    erofs.py erofs_content.py   a root file system image out of a union tree
    cpio.py initrd.py           the initial ramdisk: the agent and the kernel's modules
    assembler.py agent.py       the guest's first program, generated: it carries out tables of system calls
    table.py                    such tables, written on the host: the guest's whole user space is scripted from here
    guest_kernel.py deb.py      find a guest kernel, or fetch and unpack Debian's
    vmlinux.py lz4.py module.py the uncompressed kernel in it, and its modules
    qemu.py qmp.py launcher.py  QEMU: found, started (dies with us), spoken to
    parameters.py               the guest kernel's command line
    accel.py tsc.py measured.py whether KVM really works, how fast the processor's clock is: measured once a boot
    host.py                     what of the host a saved machine depends on
    template.py warming.py      a machine booted once, cloned copy-on-write for every start; what is done once in it
    zygote.py forking.py nursery.py  a clone that has run once, forked for every further start; when there is one
    channel.py script.py        the conversation with the agent; tables whose failures can be told
    guest.py start.py           what is said to set up a guest, and to start a program there
    machine.py session.py       a running machine, and the programs in it; polling.py: what it waits for
    mounting.py upper.py syncing.py  a container's root there; changed files brought home
    share.py share_nodes.py serving.py  host directories served to the guest (FUSE)
    snapshot.py moving.py       running machines saved, restored, cloned, moved
    uml/                        the same under User-Mode Linux, a kernel that is a process of the host
    usage.py processes.py       what a machine costs the host; what runs in it
    running.py connection.py feed.py cloner.py   of the server: a container's machine, a client, its input, templates
    server.py operations.py leftovers.py  the process that holds a store's machines; it speaks the emulated kernel's protocol
    client.py                   its client
"""
