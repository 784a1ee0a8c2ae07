"""What can be said about functions, runtimes and the machine in `forklight.toml`, as frozen structs for `reader`."""

import re
import sys
from pathlib import Path
from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from dispatcher.settings import PoolSettings
from forklight.http import RouteSettings
from forklight.queue import BrokerSettings, BusSettings, QueueSettings
from forklight.reader import flat
from forklight.timer import TimerSettings
from sandbox.spec import Hooks, Limits
from triggers.http import HttpSettings, ListenError
from triggers.http.listen import parse_listen

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")


class Name(str):
    """The name of a function or runtime: it must serve as a part of a queue's name, of a path and of a log line."""

    __slots__ = ()
    example: ClassVar[str] = "greet"

    @classmethod
    def parse(cls, text: str) -> "Name":
        """Raises ValueError."""
        if not _NAME.fullmatch(text):
            likely = re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-")
            hint = f': write "{likely}"' if _NAME.fullmatch(likely) else ""
            raise ValueError(f"is no name: a small letter, then up to 62 small letters, digits, _ and -{hint}")
        return cls(text)


class ModuleName(str):
    """A dotted module name."""

    __slots__ = ()
    example: ClassVar[str] = "PIL.Image"

    @classmethod
    def parse(cls, text: str) -> "ModuleName":
        """Raises ValueError."""
        if not _is_dotted(text):
            raise ValueError(f'is no module: write a dotted name, such as "{cls.example}"')
        return cls(text)


class Handler(str):
    """`module:attribute`, both possibly dotted."""

    __slots__ = ()
    example: ClassVar[str] = "greet:handler"

    @classmethod
    def parse(cls, text: str) -> "Handler":
        """Raises ValueError, also for an entry module the standard library's would always be imported instead of."""
        module, colon, attribute = text.partition(":")
        if not (colon and _is_dotted(module) and _is_dotted(attribute)):
            raise ValueError(f'is not of the form module:attribute: write "{_likely_handler(text)}"')
        top = module.partition(".")[0]
        if top in sys.stdlib_module_names:
            raise ValueError(f"cannot be loaded: {top!r} is a module of the standard library; rename the file")
        return cls(text)

    @property
    def module(self) -> str:
        return self.partition(":")[0]


class Listen(str):
    """`host:port`."""

    __slots__ = ()
    example: ClassVar[str] = "127.0.0.1:9090"

    @classmethod
    def parse(cls, text: str) -> "Listen":
        """Raises ValueError."""
        try:
            parse_listen(text)
        except ListenError as error:
            raise ValueError(str(error)) from None
        return cls(text)


class Secret(Struct, frozen=True, kw_only=True):
    """Where a secret is found; the value itself never stands in a configuration."""

    example: ClassVar[str] = '{ file = "secrets/key" } or { env = "API_KEY" }'
    file: Path | None = None
    env: str | None = None

    def __post_init__(self) -> None:
        if (self.file is None) == (self.env is None):
            raise ValueError('write { file = "..." } or { env = "..." }, one of them')


class HookNames(Hooks, frozen=True, kw_only=True):
    """The sandbox's hooks, each checked like a handler."""

    example: ClassVar[str] = '{ init = "greet:connect" }'
    init: Handler | None = None
    after_fork: Handler | None = None
    stop: Handler | None = None


class FunctionSettings(Struct, frozen=True, kw_only=True):
    """One `[functions.x]` table. A default of None: `code` is the configuration's directory, `env_file` is none."""

    example: ClassVar[str] = 'handler = "greet:handler" below [functions.greet]'
    handler: Handler
    code: Path | None = None
    runtime: str = "default"
    env: dict[str, str] = {}
    env_file: Path | None = None
    secrets: dict[str, Secret] = {}
    hooks: HookNames = HookNames()
    timeout_s: float = 60.0
    grace_s: Annotated[float, Meta(ge=0)] = 0.5
    init_timeout_s: float = 30.0
    limits: Annotated[Limits, flat("log")] = Limits()
    pool: Annotated[PoolSettings, flat()] = PoolSettings()
    http: tuple[RouteSettings, ...] = ()
    queue: tuple[QueueSettings, ...] = ()
    timer: tuple[TimerSettings, ...] = ()


class RuntimeSettings(Struct, frozen=True, kw_only=True):
    """One `[runtimes.x]` table. `python` is a path, an environment's folder, or a version; None is our own.

    With `requirements`, an environment of its own is made with that interpreter: by `forklight install`.
    """

    python: str | None = None
    requirements: Path | None = None
    preload: tuple[ModuleName, ...] = ()
    env: dict[str, str] = {}


class MachineSettings(Struct, frozen=True, kw_only=True):
    """`[machine]`. `user` is who functions run as when Forklight is started as root."""

    user: str | None = None


class AdminSettings(Struct, frozen=True, kw_only=True):
    """`[admin]`. `listen`: health, readiness and metrics over TCP too; the control socket always has them."""

    listen: Listen | None = None


class Settings(Struct, frozen=True, kw_only=True):
    """A whole `forklight.toml`, but for `[defaults]`, which is merged into each function before it is read."""

    functions: dict[Name, FunctionSettings] = {}
    http: HttpSettings = HttpSettings()
    bus: BusSettings = BusSettings()
    brokers: dict[Name, BrokerSettings] = {}
    admin: AdminSettings = AdminSettings()
    runtimes: dict[Name, RuntimeSettings] = {}
    machine: MachineSettings = MachineSettings()


def _is_dotted(text: str) -> bool:
    return all(part.isidentifier() for part in text.split("."))


def _likely_handler(text: str) -> str:
    module, dot, attribute = text.replace("/", ".").removesuffix(".py").rpartition(".")
    likely = f"{module}:{attribute}" if dot else f"{text}:handler"
    return likely if re.fullmatch(r"[\w.]+:\w+", likely) else Handler.example
