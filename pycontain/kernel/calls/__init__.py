"""The system calls, by what they act on. Each is `def name(task, args) -> int | DEFERRED | NATIVE`.

args are the six registers as unsigned words. A function decodes them, does the work, and returns a value or
raises OSError; the platform turns that into -errno. The table is kernel/table.py.
"""
