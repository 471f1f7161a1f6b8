"""The virtual file system: mounts, path resolution, and the file systems below them.

mount.py        mounts and nodes (a mount and an inode)
filesystem.py   what every file system offers
walk.py         path_resolution(7)
access.py       who may do what
unionfs.py      image and container files (also tmpfs: a union without an image)
overlayfs.py    overlays that programs mount inside
sizedtmpfs.py   tmpfs of a size; tmpfs.py: what programs mount themselves
hostfs.py       directories of the host (-v)
procfs.py (procpid.py, procinode.py, procsys.py), sysfs.py, cgroupfs.py, devfs.py   the kernel's own
proctext.py, systemtext.py, ipctext.py   texts of /proc: of a process, of the machine, of System V objects; live.py: those that are kept open
handles.py      the descriptors that stand for directories
"""
