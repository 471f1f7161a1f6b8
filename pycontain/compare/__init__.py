"""The same image as container, as virtual machine, as User-Mode Linux, under podman and beside them on the host.

General layout:

    probe.py        a static program, generated, that times itself: CPU, system calls, fork+exec, files
    discovery.py    which of the ways to run an image there are here; podman.py: how podman has to be called
    subjects.py     the ways to run an image, each a command line of what a user would type
    memory.py       what instances cost: proportional set size, disk
    measure.py      runs everything, interleaved and repeated -> Report
    report.py       the values, as JSON
    text.py         a table for a terminal
    page.py plots.py   one self-contained HTML page; the plots are drawn by matplotlib
    consolidate.py  services packed on one kind of host as containers and as machines
"""
