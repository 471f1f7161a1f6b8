"""User-Mode Linux: a Linux kernel as a process of the host, for hosts where no QEMU is wanted.

General layout:

    program.py       the program and its modules: found, its command line, the initial ramdisk
    preload.py       a generated library that lets it run on CPUs with more state than it knows
    warden.py        starts it so that none of its processes outlives us
    confinement.py   what the process may not do on the host, and the guest's root in the guest
    sealed.py        files in memory that a guest cannot change for the others
    vhost_user.py    a device of the guest's in this process: the vhost-user protocol
    virtqueue.py     such a device's rings, in the guest's memory
    console.py       the device: virtio-console, whose ports carry the agents' frames
    process.py       a running User-Mode Linux, as a QEMU process is elsewhere
    sharing.py       which processes of the host have one memory
    boot.py          a machine booted for a container
"""
