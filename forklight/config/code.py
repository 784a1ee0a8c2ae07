"""`code`: where a function's modules are, on this machine or elsewhere."""

from pathlib import Path
from typing import ClassVar, Literal

from msgspec import Struct

from forklight.packages.source import header_problem, sha256_problem, url_problem


class Url(str):
    """An address of a zip."""

    __slots__ = ()
    example: ClassVar[str] = "https://example.com/app.zip"

    @classmethod
    def parse(cls, text: str) -> "Url":
        """Raises ValueError."""
        if problem := url_problem(text):
            raise ValueError(problem)
        return cls(text)


class Sha256(str):
    """A hash in 64 hexadecimal digits."""

    __slots__ = ()
    example: ClassVar[str] = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

    @classmethod
    def parse(cls, text: str) -> "Sha256":
        """Raises ValueError."""
        digits = text.removeprefix("sha256:").lower()
        if problem := sha256_problem(digits):
            raise ValueError(problem)
        return cls(digits)


class HeaderName(str):
    """The name of a header of a request."""

    __slots__ = ()
    example: ClassVar[str] = "Authorization"

    @classmethod
    def parse(cls, text: str) -> "HeaderName":
        """Raises ValueError."""
        if problem := header_problem(text):
            raise ValueError(problem)
        return cls(text)


class HeaderSettings(Struct, frozen=True, kw_only=True):
    """What a header says."""

    example: ClassVar[str] = '{ env = "TOKEN", prefix = "Bearer " }'
    value: str | None = None
    """What everybody may read, such as `"application/octet-stream"`; the header may also be this string. Default: one
    of `value`, `env` and `file`."""
    env: str | None = None
    """A variable of the server's environment with a secret. Default: one of `value`, `env` and `file`."""
    file: Path | None = None
    """A file with a secret. Default: one of `value`, `env` and `file`."""
    prefix: str = ""
    """What stands before the secret, such as `"Bearer "`."""

    def __post_init__(self) -> None:
        if sum(one is not None for one in (self.value, self.env, self.file)) != 1:
            raise ValueError('write { env = "TOKEN" }, { file = "secrets/token" } or a string, one of them')
        if self.prefix and self.value is not None:
            raise ValueError("prefix is for secrets: write it into the value")


class CodeSettings(Struct, frozen=True, kw_only=True):
    """`code`, in its long form."""

    example: ClassVar[str] = '"src", or { url = "https://example.com/app.zip", sha256 = "..." }'
    elsewhere: ClassVar[dict[str, str]] = {
        **dict.fromkeys(("hash", "digest", "checksum"), "write sha256"),
        **dict.fromkeys(("token", "auth"), 'write headers = { Authorization = { env = "TOKEN", prefix = "Bearer " } }'),
    }
    path: Path | None = None
    """A directory, or a zip; `code = "src"` is short for it. Default: the file's directory."""
    url: Url | None = None
    """The address of a zip, by https. Default: the code is on this machine."""
    sha256: Sha256 | None = None
    """The hash of that zip, which decides whether it is the right one. Default: required with `url`."""
    headers: dict[HeaderName, HeaderSettings] = {}
    """What the request for it says. It goes to the host of `url` and to no other."""
    pull: Literal["ahead", "first"] = "ahead"
    """When it is pulled: before the server starts or reloads, or when the function is first needed."""

    def __post_init__(self) -> None:
        if self.url is None:
            if self.sha256 is not None or self.headers or self.pull != "ahead":
                raise ValueError("sha256, headers and pull are for code from a url: write url, or leave them out")
        elif self.path is not None:
            raise ValueError("has a path and a url: write one of them")
        elif self.sha256 is None:
            raise ValueError('needs sha256 = "...", the hash of the zip: "sha256sum app.zip" prints it')
