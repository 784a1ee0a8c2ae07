"""`[deploy]`: what the server keeps of deployed applications, and what they may know of its environment."""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, ClassVar

from msgspec import Meta, Struct

_PATTERN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\*?|\*")


class EnvPattern(str):
    """The name of a variable, or the beginning of names and `*`."""

    __slots__ = ()
    example: ClassVar[str] = "SHOP_*"

    @classmethod
    def parse(cls, text: str) -> "EnvPattern":
        """Raises ValueError."""
        if not _PATTERN.fullmatch(text):
            raise ValueError('is not the name of a variable, such as "API_KEY", or the beginning of some, "SHOP_*"')
        return cls(text)

    def takes_in(self, name: str) -> bool:
        """Whether the variable `name` is meant."""
        return name.startswith(self[:-1]) if self.endswith("*") else name == self


class DeploySettings(Struct, frozen=True, kw_only=True):
    """`[deploy]`."""

    keep_versions: Annotated[int, Meta(ge=1)] = 5
    """How many versions of each application are kept; besides, whatever serves or is next to roll back to, and what an
    alias names."""
    keep_warm_s: Annotated[float, Meta(ge=0)] = 3600.0
    """How long the version before stays loaded, so that a rollback only forks: from the deploy, or from
    the start of the server. `"0s"`: not at all."""
    abort_canaries: bool = True
    """Whether a canary that fails too often beside the live version is aborted by itself."""
    env: tuple[EnvPattern, ...] = ()
    """The server's variables that applications may read, by `${NAME}` and by secrets: `["API_KEY", "SHOP_*"]`.
    Default: none."""
    max_package_bytes: int = 256 * 1024 * 1024
    """The largest package that is taken."""
    max_unpacked_bytes: int = 1024 * 1024 * 1024
    """The most that a package may hold."""


class Lent(dict[str, str]):
    """The variables of the server that an application may read."""

    def __init__(self, environ: Mapping[str, str], patterns: Iterable[EnvPattern]) -> None:
        self._patterns = tuple(patterns)
        super().__init__({name: value for name, value in environ.items() if self._has(name)})

    def _has(self, name: str) -> bool:
        return any(pattern.takes_in(name) for pattern in self._patterns)

    def why_missing(self, name: str) -> str:
        """Return why an application cannot have a variable, and what to do. Whether it is set, it may only learn if
        it may read it."""
        if self._has(name):
            return f"{name}, which is not set in the server's environment"
        return f'{name} of the server, which applications may not read: it needs [deploy] env = ["{name}"] there'
