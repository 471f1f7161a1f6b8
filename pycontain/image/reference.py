"""Image references: "registry/repository:tag@digest", normalised as Docker does.

Grammar: distribution's reference package, which the distribution-spec takes over ("Pulling manifests").
A first component is a registry if it holds "." or ":", has upper case, or is "localhost"; otherwise the
registry is docker.io, and a name of one component there stands under library/.
"""

# Annotations are evaluated here: NamedTuple would compile each one again from a string.

import re
from typing import NamedTuple, Self

from pycontain.errors import ImageError
from pycontain.image.digest import is_digest, parse_digest

DEFAULT_REGISTRY = "docker.io"
DEFAULT_TAG = "latest"

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"


class Reference(NamedTuple):
    """Where an image is named. tag and digest may both be there; digest then decides.

    registry: host[:port]; repository: the path in it, without a slash in front.
    """

    registry: str
    repository: str
    tag: str | None = None
    digest: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """The reference that `text` means: "hello" is docker.io/library/hello:latest. Else ImageError."""
        name, at, digest = text.partition("@")
        if at:
            digest = parse_digest(digest)
        tag: str | None = None
        colon = name.rfind(":")
        if colon > name.rfind("/"):
            name, tag = name[:colon], name[colon + 1 :]
            # Not compiled at import: re keeps its own cache, and most commands parse one reference.
            if not re.fullmatch(r"\w[\w.-]{0,127}", tag, re.ASCII):
                raise _invalid(text, f"the tag {tag[:140]!r} is not valid")
        registry, repository = _split(name, text)
        if not tag and not digest:
            tag = DEFAULT_TAG
        return cls(registry, repository, tag, digest or None)

    @property
    def name(self) -> str:
        """registry/repository, without tag and digest."""
        return f"{self.registry}/{self.repository}"

    @property
    def path(self) -> str:
        """The repository: what stands in a registry's URLs between /v2/ and /manifests/."""
        return self.repository

    @property
    def familiar_name(self) -> str:
        """As Docker shows a repository: docker.io/ and library/ are left out."""
        if self.registry != DEFAULT_REGISTRY:
            return self.name
        first, _, rest = self.repository.partition("/")
        return rest if first == "library" and rest and "/" not in rest else self.repository

    @property
    def familiar(self) -> str:
        """As a user would write it: "hello:latest"."""
        return self.familiar_name + self._suffix

    def with_tag(self, tag: str) -> Self:
        """The same repository with this tag and no digest."""
        parsed = Reference.parse(f"{self.name}:{tag}")
        if parsed.tag != tag:
            raise _invalid(f"{self.name}:{tag}", "the tag is not valid")
        return self._replace(tag=tag, digest=None)

    def with_digest(self, digest: str) -> Self:
        """The same repository and tag, pinned to a digest."""
        return self._replace(digest=parse_digest(digest))

    @property
    def target(self) -> str:
        """What to ask a registry for: the digest where there is one, else the tag."""
        return self.digest or self.tag or DEFAULT_TAG

    @property
    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def __str__(self) -> str:
        return self.name + self._suffix


def _split(name: str, text: str) -> tuple[str, str]:
    """Registry and repository of a name without tag and digest."""
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost" or first != first.lower()):
        registry, repository = first, rest
        if not re.fullmatch(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?", registry):
            raise _invalid(text, f"the registry {registry[:80]!r} is not valid")
        if registry == "index.docker.io":
            registry = DEFAULT_REGISTRY
    else:
        registry, repository = DEFAULT_REGISTRY, name
    if registry == DEFAULT_REGISTRY and "/" not in repository:
        if is_digest(f"sha256:{repository}"):
            raise _invalid(text, "64 hex digits are an image's id, not a name")
        repository = f"library/{repository}"
    if repository != repository.lower():
        raise _invalid(text, "a repository's name is lower case")
    if len(repository) > 255:
        raise _invalid(text, "a repository's name is at most 255 characters")
    if not all(re.fullmatch(_COMPONENT, part) for part in repository.split("/")):
        raise _invalid(text, "the repository's name is not valid")
    return registry, repository


def _invalid(text: str, reason: str) -> ImageError:
    return ImageError(f"parse reference {text[:200]!r}: {reason}", hint="[registry/]name[:tag][@digest]")
