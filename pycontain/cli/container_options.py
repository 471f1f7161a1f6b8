"""The options that `run` and `create` share, and what they become."""

from __future__ import annotations

from pycontain.cli.options import FLAG, LATER, LATER_FLAG, LIST, VALUE, Option, UsageError, Values
from pycontain.engine.mounts import parse_size
from pycontain.engine.options import ContainerOptions

_NETWORK = "containers share the host's network for now: a port is reachable as it is"
_LIMITS = "there are --memory, --cpus, --cpuset-cpus, --pids-limit and --ulimit"
_LIMIT_OPTIONS = (
    "memory-reservation memory-swappiness cpu-count cpu-percent cpu-period cpu-quota "
    "cpu-rt-period cpu-rt-runtime cpuset-mems oom-score-adj "
    "blkio-weight-device device-read-bps device-read-iops device-write-bps device-write-iops "
    "storage-opt io-maxbandwidth io-maxiops"
)
_HEALTH = "health checks do not run yet"
_HEALTH_OPTIONS = (
    "health-cmd health-interval health-retries health-start-interval health-start-period health-timeout"
)
_PRIVILEGE_OPTIONS = "security-opt device device-cgroup-rule gpus sysctl userns"
_OTHER_OPTIONS = "annotation cgroup-parent cgroupns ipc isolation log-driver log-opt pid uts"
_PRIVILEGE = "there are --cap-add, --cap-drop and --privileged"
_LIMIT_KEYS = (
    "memory",
    "memory_swap",
    "cpus",
    "cpuset_cpus",
    "pids_limit",
    "ulimit",
    "cap_add",
    "cap_drop",
    "privileged",
)

CONTAINER_OPTIONS: tuple[Option, ...] = (
    Option("add-host", "", LIST, "Add a line to /etc/hosts", "HOST:IP"),
    Option("cidfile", "", VALUE, "Write the container's ID to a file", "FILE"),
    Option("dns", "", LIST, "Set a name server", "ADDRESS"),
    Option("dns-option", "", LIST, "Set an option of the resolver", "OPTION"),
    Option("dns-search", "", LIST, "Set a search domain", "DOMAIN"),
    Option("entrypoint", "", VALUE, "Overwrite the image's entry point", "PROGRAM"),
    Option("env", "e", LIST, "Set an environment variable", "NAME[=VALUE]"),
    Option("env-file", "", LIST, "Read environment variables from a file", "FILE"),
    Option("group-add", "", LIST, "Add a supplementary group", "GROUP"),
    Option("hostname", "h", VALUE, "The container's host name", "NAME"),
    Option("interactive", "i", FLAG, "Keep standard input open"),
    Option("label", "l", LIST, "Set a label", "KEY=VALUE"),
    Option("label-file", "", LIST, "Read labels from a file", "FILE"),
    Option("mount", "", LIST, "Attach a file system", "type=bind|tmpfs,…"),
    Option("name", "", VALUE, "Give the container a name", "NAME"),
    Option("network", "", VALUE, "Connect to a network: host (the default for now)", "NETWORK"),
    Option("net", "", VALUE, "The same as --network", "NETWORK"),
    Option("platform", "", VALUE, "Choose among an image's platforms", "OS/ARCH"),
    Option("pull", "", VALUE, "Pull the image first: always, missing or never", "POLICY"),
    Option("quiet", "q", FLAG, "Do not show the progress of a pull"),
    Option("read-only", "", FLAG, "Make the root file system read-only"),
    Option("rm", "", FLAG, "Remove the container when it ends"),
    Option("shm-size", "", VALUE, "The size of /dev/shm (64m)", "SIZE"),
    Option("stop-signal", "", VALUE, "The signal that stops the container", "SIGNAL"),
    Option("stop-timeout", "", VALUE, "Seconds to wait before a stop becomes a kill", "SECONDS"),
    Option("tmpfs", "", LIST, "Mount a tmpfs", "PATH[:OPTIONS]"),
    Option("tty", "t", FLAG, "Give the program a terminal"),
    Option("user", "u", VALUE, "Run as this user", "NAME|UID[:GROUP|GID]"),
    Option("volume", "v", LIST, "Bind a directory or file of the host", "SOURCE:TARGET[:ro]"),
    Option("workdir", "w", VALUE, "The program's working directory", "PATH"),
    Option(
        "publish", "p", LIST, "Publish a machine's port (--runtime vm)", "[[ADDRESS:]PORT:]PORT[/PROTOCOL]"
    ),
    Option("runtime", "", VALUE, "Run in a virtual machine: vm, or uml", "KIND"),
    Option("vm-accel", "", VALUE, "How a machine's CPU runs: auto, kvm or tcg", "ACCELERATOR"),
    Option("cpus", "", VALUE, "Processor time, in processors; a machine's number of them", "NUMBER"),
    Option("cpuset-cpus", "", VALUE, "The processors to run on", "NUMBERS"),
    Option("pids-limit", "", VALUE, "How many processes and threads there may be", "NUMBER"),
    Option("ulimit", "", LIST, "Set a resource limit", "NAME=SOFT[:HARD]"),
    Option("cap-add", "", LIST, "Add a capability", "NAME"),
    Option("cap-drop", "", LIST, "Drop a capability", "NAME"),
    Option("privileged", "", FLAG, "Grant every capability that the emulated kernel knows"),
    Option("publish-all", "P", LATER_FLAG, "", instead=_NETWORK),
    Option("expose", "", LATER, "", instead=_NETWORK),
    Option("link", "", LATER, "", instead=_NETWORK),
    Option("network-alias", "", LATER, "", instead=_NETWORK),
    Option("net-alias", "", LATER, "", instead=_NETWORK),
    Option("ip", "", LATER, "", instead=_NETWORK),
    Option("ip6", "", LATER, "", instead=_NETWORK),
    Option("link-local-ip", "", LATER, "", instead=_NETWORK),
    Option("mac-address", "", LATER, "", instead=_NETWORK),
    Option("domainname", "", LATER, ""),
    Option("memory", "m", VALUE, "Memory, with a suffix k, m or g", "SIZE"),
    Option("memory-swap", "", VALUE, "Memory and swap: as much as --memory, for swap counts", "SIZE"),
    *(Option(name, "", LATER, "", instead=_LIMITS) for name in _LIMIT_OPTIONS.split()),
    Option("cpu-shares", "c", LATER, "", instead=_LIMITS),
    Option("blkio-weight", "", LATER, "", instead=_LIMITS),
    Option("oom-kill-disable", "", LATER_FLAG, "", instead=_LIMITS),
    *(Option(name, "", LATER, "", instead=_PRIVILEGE) for name in _PRIVILEGE_OPTIONS.split()),
    Option("init", "", LATER_FLAG, ""),
    Option("no-healthcheck", "", LATER_FLAG, "", instead=_HEALTH),
    *(Option(name, "", LATER, "", instead=_HEALTH) for name in _HEALTH_OPTIONS.split()),
    Option("attach", "a", LATER, "", instead="standard output and error are both attached, input with -i"),
    Option("restart", "", VALUE, "What to do when it ends: only no, for now", "POLICY"),
    Option("volumes-from", "", LATER, "", instead="give the directories with -v"),
    Option("volume-driver", "", LATER, ""),
    Option("use-api-socket", "", LATER_FLAG, ""),
    *(Option(name, "", LATER, "") for name in _OTHER_OPTIONS.split()),
)


def container_options(verb: str, values: Values, words: list[str]) -> ContainerOptions:
    """The container that a command line asks for. words: IMAGE [COMMAND…]. UsageError for bad values."""
    options = ContainerOptions(words[0])
    options.command = words[1:]
    options.name = values.text("name")
    options.env = values.texts("env")
    options.env_files = values.texts("env_file")
    options.user = values.text("user")
    options.working_dir = values.text("workdir")
    options.entrypoint = values.text("entrypoint")
    options.hostname = values.text("hostname")
    options.volumes = values.texts("volume")
    options.mounts = values.texts("mount")
    options.tmpfs = values.texts("tmpfs")
    shm_size = values.text("shm_size")
    if shm_size is not None:
        options.shm_size = parse_size(shm_size) or options.shm_size
        if options.shm_size < 0:
            raise UsageError(f"{verb}: --shm-size {shm_size}: less than 0")
    options.read_only = values.flag("read_only")
    options.labels = values.texts("label")
    options.label_files = values.texts("label_file")
    options.remove = values.flag("rm")
    options.interactive = values.flag("interactive")
    options.tty = values.flag("tty")
    options.add_hosts = values.texts("add_host")
    options.dns = values.texts("dns")
    options.dns_options = values.texts("dns_option")
    options.dns_search = values.texts("dns_search")
    options.groups = values.texts("group_add")
    options.stop_signal = values.text("stop_signal")
    options.platform = values.text("platform")
    options.cidfile = values.text("cidfile")
    options.quiet = values.flag("quiet")
    options.pull = values.text("pull") or "missing"
    if options.pull not in ("always", "missing", "never"):
        raise UsageError(f"{verb}: --pull {options.pull}: not one of always, missing, never")
    network = values.text("network") or values.text("net")
    options.host_network = network == "host"
    if network not in (None, "host", "default"):
        raise UsageError(
            f"{verb}: --network {network} is not there yet", hint="only --network host, for now; " + _NETWORK
        )
    if values.text("restart") not in (None, "no", ""):
        raise UsageError(f"{verb}: --restart {values.text('restart')} is not there yet")
    _machine_options(verb, values, options)
    timeout = values.text("stop_timeout")
    if timeout is not None:
        try:
            options.stop_timeout = int(timeout)
        except ValueError:
            raise UsageError(f"{verb}: --stop-timeout {timeout}: not a number of seconds") from None
    return options


def _machine_options(verb: str, values: Values, options: ContainerOptions) -> None:
    """--runtime, limits, and what only machines have so far."""
    runtime = values.text("runtime") or ""
    if runtime in ("", "pycontain", "runc"):
        for key, instead in (("publish", _NETWORK), ("vm_accel", "it belongs to --runtime vm")):
            if key in values:
                raise UsageError(
                    f"{verb}: --{key.replace('_', '-')} is not there for containers", hint=instead
                )
        if any(key in values for key in _LIMIT_KEYS):
            from pycontain.cli.limit_options import limit_options  # most do without

            limit_options(verb, values, options)
        return
    for key in _LIMIT_KEYS:
        if key in values and key not in ("memory", "cpus"):
            raise UsageError(f"{verb}: --{key.replace('_', '-')} is not there for machines")
    from pycontain.cli.machine_options import machine_options  # containers do without

    options.runtime, options.machine = machine_options(verb, runtime, values)
