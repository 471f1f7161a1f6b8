"""pycontain: build, ship and run OCI images without privileges.

General layout:

    errors.py    every exception; its docstring draws the tree
    image/       immutable values: reference digest platform descriptor manifest config
    store/       the local store, on disk an OCI image layout: blobs tags layers gc archive
    unionfs/     layer index, inode, union tree, journal, diff to a layer
    build/       Dockerfile -> plain operations -> steps -> image
    client/      registry client: transport auth pull push
    kernel/      the shared emulated kernel, one process for all containers
    platforms/   how programs execute under the kernel: base (the contract), trap (native, seccomp)
    engine/      containers as users see them: create start stop exec logs cp commit
    cli/         the commands, one file per verb
    testing.py   pytest fixtures, for our tests and for those of other projects

Imports go one way: cli -> engine, build -> kernel, client, store, unionfs -> image -> errors.
"""

__version__ = "0.1.0"
