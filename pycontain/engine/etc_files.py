"""A container's own /etc/hosts, /etc/hostname and /etc/resolv.conf, with Docker's content.

They lie in the container's directory and are bind mounted, so that the image stays as it is.
"""

from __future__ import annotations

import os

from pycontain.errors import ContainerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pycontain.engine.options import ContainerOptions

_HOSTS = """127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff00::\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""


def write(directory: str, hostname: str, options: ContainerOptions) -> list[dict[str, Any]]:
    """Write the three files into the container's directory; returns their mounts."""
    content = {
        "hostname": hostname + "\n",
        "hosts": _hosts(hostname, options),
        "resolv.conf": _resolv(options),
    }
    mounts = []
    for name, text in content.items():
        path = os.path.join(directory, name)
        with open(path, "wb") as file:
            file.write(os.fsencode(text))
        mounts.append({"type": "bind", "source": path, "target": f"/etc/{name}", "read_only": False})
    return mounts


def _hosts(hostname: str, options: ContainerOptions) -> str:
    text = _HOSTS
    if options.host_network:  # Docker: whoever shares the host's network also shares its names
        text = _read("/etc/hosts") or text
        if not text.endswith("\n"):
            text += "\n"
    for item in options.add_hosts:
        name, separator, address = item.partition("=" if "=" in item else ":")
        address = address.strip("[]")
        if address == "host-gateway":
            address = "127.0.0.1"
        if not separator or not name or not _is_address(address):
            raise ContainerError(f"add host {item!r}: not HOST:IP")
        text += f"{address}\t{name}\n"
    return text + f"127.0.0.1\t{hostname}\n"


def _resolv(options: ContainerOptions) -> str:
    """The host's own file, since its network is the host's; with --dns and the like, one made of those."""
    host = _read("/etc/resolv.conf")
    if not (options.dns or options.dns_search or options.dns_options):
        return host
    lines = host.splitlines()

    def kept(word: str) -> list[str]:
        return [line for line in lines if line.split()[:1] == [word]]

    for address in options.dns:
        if not _is_address(address):
            raise ContainerError(f"set name server {address!r}: not an address")
    servers = [f"nameserver {address}" for address in options.dns] or kept("nameserver")
    search = [f"search {' '.join(options.dns_search)}"] if options.dns_search else kept("search")
    if options.dns_search == ["."]:
        search = []
    extra = [f"options {' '.join(options.dns_options)}"] if options.dns_options else kept("options")
    return "\n".join([*servers, *search, *extra]) + "\n"


def _is_address(text: str) -> bool:
    import socket  # rarely needed, and slow to import

    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, text)
            return True
        except OSError:
            pass
    return False


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""
