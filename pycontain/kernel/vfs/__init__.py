"""The virtual file system: mounts, path resolution, and the file systems below them.

mount.py        mounts and nodes (a mount and an inode)
filesystem.py   what every file system offers
walk.py         path_resolution(7)
access.py       who may do what
unionfs.py      image and container files (also tmpfs: a union without an image)
overlayfs.py    overlays that programs mount inside
hostfs.py       directories of the host (-v)
procfs.py (procpid.py, procinode.py), sysfs.py, devfs.py   the kernel's own
handles.py      the descriptors that stand for directories
"""
