"""Containers as users see them.

General layout:

    engine.py       the root directory, the store and the kernel, each opened when it is needed
    options.py      what a user asks of a new container
    images.py       an image by name: from the store, made by bootstrap, or pulled
    card.py         what a start needs to know of an image, kept ready so that `run` reads one small file
    environment.py  -e and --env-file
    mounts.py       -v, --mount and --tmpfs
    etc_files.py    /etc/hosts, /etc/hostname and /etc/resolv.conf
    names.py        names of containers
    spec.py         an image and options -> what the kernel is asked to run
    containers.py   a container's directory: create, find, list, remove
    state.py        created, running, exited; the exit code
    start.py        start and restart
    attach.py       this process's input, output and signals <-> a session
    execute.py      a further program in a running container
    stop.py         stop, kill, wait
    stats.py        what containers use
    update.py       other limits for a container
    logs.py         what it has printed
    files.py        a container's tree for cp, diff, export and commit
    copy.py         cp: tar streams in and out
    commit.py       a container's changes -> an image
    inspect.py      Docker's JSON descriptions
    prune.py        remove what is not used
    bootstrap/      images made of the host's own programs

Modules on the path of `run` avoid what is slow to import (typing, dataclasses, json, logging, tempfile).
"""
