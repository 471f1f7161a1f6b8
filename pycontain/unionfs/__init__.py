"""The union file system: layers, seen as one tree that can be written to.

General layout:

    index.py      what a layer's tar holds, and where; msgpack on disk
    tarstream.py  the parser that makes entries out of a tar while it streams past
    tarwriter.py  the writer of tars, in BuildKit's bytes
    inode.py      one file of a tree
    tree.py       layers merged, and a container's changes on top
    journal.py    those changes on disk
    diff.py       those changes as a list, and as a layer

See README.md for the idea.
"""
