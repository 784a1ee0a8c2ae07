"""The keys of functions, runtimes and the machine in `forklight.toml`, as frozen structs for `reader`."""

import re
import sys
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct

from bus.declaration import Declaration
from bus.limits import slug
from dispatcher.settings import PoolSettings
from forklight.config.admin import AdminSettings
from forklight.config.code import CodeSettings
from forklight.config.deploy import DeploySettings
from forklight.config.http import RouteSettings
from forklight.config.isolation import IsolationSettings
from forklight.config.machine import MachineSettings
from forklight.config.queue import BrokerSettings, BusSettings, QueueName
from forklight.config.reader import flat
from sandbox.kinds import Form, Kind
from sandbox.spec import Hooks, Limits
from triggers.http import HttpSettings
from triggers.queue.settings import QueueSettings
from triggers.timer import TimerSettings

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_FILE, _EXPORT = r"(?!/|(?:.*/)?\.\./)[\w@.+-]+(?:/[\w@.+-]+)*", r"[\w$]+(?:\.[\w$]+)*"
_NODE_HANDLER = re.compile(rf"{_FILE}(?<!\.[cm][jt]s)(?<!\.[jt]s):{_EXPORT}")
LEAST_KEPT_BYTES = 1024 * 1024
"""Less has no room for one long line."""


class Name(str):
    """The name of a function or runtime: it becomes part of a queue's name, of a path and of a log line."""

    __slots__ = ()
    example: ClassVar[str] = "greet"

    @classmethod
    def parse(cls, text: str) -> "Name":
        """Raises ValueError."""
        if not _NAME.fullmatch(text):
            likely = slug(text)
            hint = f': write "{likely}"' if _NAME.fullmatch(likely) else ""
            raise ValueError(f"is not a valid name: a small letter, then up to 62 small letters, digits, _ and -{hint}")
        return cls(text)


class ModuleName(str):
    """A dotted module name."""

    __slots__ = ()
    example: ClassVar[str] = "PIL.Image"

    @classmethod
    def parse(cls, text: str) -> "ModuleName":
        """Raises ValueError."""
        if not _is_dotted(text):
            raise ValueError(f'is not a module: write a dotted name, such as "{cls.example}"')
        return cls(text)


class Entry(str):
    """What a function's runtime calls, as it is written; what it has to be depends on the kind of that runtime."""

    __slots__ = ()
    example: ClassVar[str] = "greet:handler"

    @classmethod
    def parse(cls, text: str) -> "Entry":
        """Raises ValueError."""
        if not text.strip():
            raise ValueError(f'is empty: write "{cls.example}"')
        return cls(text)


class Handler(Entry):
    """`module:attribute`, both possibly dotted."""

    __slots__ = ()
    example: ClassVar[str] = "greet:handler"

    @classmethod
    def parse(cls, text: str) -> "Handler":
        """Raises ValueError, also for an entry module that a module of the standard library would hide."""
        module, colon, attribute = text.partition(":")
        if not (colon and _is_dotted(module) and _is_dotted(attribute)) or module.endswith(".py"):
            rename = ", and rename the file, as no module has a - in its name" if "-" in module else ""
            raise ValueError(f'is not of the form module:attribute: write "{_likely_handler(text)}"{rename}')
        top = module.partition(".")[0]
        if top in sys.stdlib_module_names:
            raise ValueError(f"cannot be loaded: {top!r} is a module of the standard library; rename the file")
        return cls(text)

    @property
    def module(self) -> str:
        return self.partition(":")[0]


class NodeHandler(Entry):
    """`file:export` of Node.js: `index:handler`, `src/app:orders.handler`. The file's ending is left out."""

    __slots__ = ()
    example: ClassVar[str] = "index:handler"

    @classmethod
    def parse(cls, text: str) -> "NodeHandler":
        """Raises ValueError."""
        if not _NODE_HANDLER.fullmatch(text):
            raise ValueError(f'is not of the form file:export: write "{_likely_node_handler(text)}"')
        return cls(text)


class Secret(Struct, frozen=True, kw_only=True):
    """Where a secret is read from; its value is never in a configuration."""

    example: ClassVar[str] = '{ file = "secrets/key" } or { env = "API_KEY" }'
    file: Path | None = None
    """A file with the value. Default: either this or `env`."""
    env: str | None = None
    """A variable of the server's environment. Default: either this or `file`."""

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
    """One `[functions.x]` table."""

    example: ClassVar[str] = 'handler = "greet:handler" below [functions.greet]'
    elsewhere: ClassVar[dict[str, str]] = {
        "name": "the name of a function is that in its header, [functions.NAME]",
        **dict.fromkeys(("cron", "crontab"), 'write timer = "30 2 * * *", or timer = { every = "5m" }'),
        **dict.fromkeys(("route", "routes", "url"), 'write http = "GET /orders"'),
        **dict.fromkeys(("environment", "environ", "variables"), 'write env = { NAME = "value" }'),
        **dict.fromkeys(("workers", "instances", "processes"), "write max_instances, how many processes may run"),
        **dict.fromkeys(
            ("threads", "worker_connections", "max_concurrency"),
            "write max_instances, how many processes may run; or concurrency, how many calls each runs if async",
        ),
        "retries": "write attempts below [[functions.NAME.queue]], or retry below [[functions.NAME.timer]]",
        **dict.fromkeys(("volumes", "volume", "binds"), 'write mounts = ["/srv/data:rw"]'),
        **dict.fromkeys(("sandbox", "container"), 'write isolation = "best", or the name of a level'),
        "requirements": 'write runtime = "app", and requirements below [runtimes.app]',
        "python": 'write runtime = "app", and python below [runtimes.app]',
        **dict.fromkeys(("node", "nodejs"), 'write runtime = "app", and node below [runtimes.app]'),
        "command": 'write runtime = "app", and command below [runtimes.app]',
    }
    handler: Entry
    """`module:attribute`; of Node.js, `file:export`; of a command, any text, which it finds in `_HANDLER`."""
    code: CodeSettings = CodeSettings()
    """Where the modules are: a directory or a zip, or a table. Default: the file's directory."""
    runtime: str = "default"
    """The name of a `[runtimes.NAME]`. Default: the environment of Forklight."""
    env: dict[str, str] = {}
    """Variables of the function. It gets nothing of the server's environment."""
    env_file: Path | None = None
    """A file of lines `NAME=value`; `env` takes precedence."""
    secrets: dict[str, Secret] = {}
    """Variables whose values are elsewhere, such as `{ API_KEY = { file = "secrets/key" } }`."""
    data: bool = False
    """Give it `$FORKLIGHT_DATA`, the application's folder for files that must last: [data.md](data.md)."""
    probe: Path | None = None
    """A file with an event, which a deploy runs on the new version before it serves: [deploy.md](deploy.md)."""
    hooks: HookNames = HookNames()
    """Code that runs in its processes besides the handler."""
    timeout_s: float = 60.0
    """How long one call may take."""
    grace_s: Annotated[float, Meta(ge=0)] = 0.5
    """Time after the timeout for the handler to clean up, before it is killed."""
    init_timeout_s: float = 30.0
    """Limit of the import and the `init` hook, and of the `after_fork` hook in each instance."""
    rehearsal: Literal["libraries", "all", "none"] = "libraries"
    """Which modules that calls import the template imports ahead: [instances.md](instances.md#rehearsal)."""
    limits: Annotated[Limits, flat()] = Limits()
    isolation: Annotated[IsolationSettings, flat()] = IsolationSettings()
    log_level: Literal["debug", "info", "warning", "error", "critical"] = "info"
    """The initial level of the root logger of `logging`."""
    pool: Annotated[PoolSettings, flat()] = PoolSettings()
    http: tuple[RouteSettings, ...] = ()
    """Routes; also `"GET /orders"`, or a list of such."""
    queue: tuple[QueueSettings, ...] = ()
    """Queues it consumes; also `"orders"`, or a list of such."""
    timer: tuple[TimerSettings, ...] = ()
    """When it runs; also `"30 2 * * *"`, or a list of such."""


class RuntimeSettings(Struct, frozen=True, kw_only=True):
    """One `[runtimes.x]` table."""

    example: ClassVar[str] = 'python = "3.12" below [runtimes.app]'
    elsewhere: ClassVar[dict[str, str]] = {
        **dict.fromkeys(("nodejs", "javascript", "js"), 'write node = "node", or the path of the program'),
        "bootstrap": 'write command = ["./bootstrap"]',
    }
    python: str | None = None
    """An interpreter's path, an environment's folder, or a version such as `"3.12"`. Default: that of Forklight."""
    node: str | None = None
    """Node.js instead of Python: its path, its folder, a version such as `"20"`, or `"node"` for that on PATH."""
    command: tuple[str, ...] | None = None
    """Any other program instead of Python, and its arguments: `["./bootstrap"]` in the code, a path, or a name on PATH.
    It speaks AWS Lambda's Runtime API."""
    snapshot: bool = False
    """Whether instances of Node.js (20 or later) begin with the heap of the function that was loaded once, instead of
    loading it. For large functions of CommonJS."""
    events: Form | None = None
    """What a command gets: the events of AWS (`lambda`, the default), or those of a handler as JSON (`forklight`)."""
    requirements: Path | None = None
    """A requirements file, of which `forklight install` makes an environment with that interpreter."""
    preload: tuple[ModuleName, ...] = ()
    """Modules that every function of this runtime shares."""
    env: dict[str, str] = {}
    """Variables of the interpreter, such as `OMP_NUM_THREADS`."""

    @property
    def kind(self) -> Kind:
        """What runs its functions."""
        if self.node is not None:
            return "node"
        return "python" if self.command is None else "command"


class LogSettings(Struct, frozen=True, kw_only=True):
    """`[log]`."""

    keep_bytes: Annotated[int, Meta(ge=0)] = 32 * 1024 * 1024
    """How much of the log is kept in the state directory, for `forklight logs` and `why` after a restart; at least
    `"1MiB"`, or `"0B"` for nothing."""

    def __post_init__(self) -> None:
        if 0 < self.keep_bytes < LEAST_KEPT_BYTES:
            raise ValueError('keep must be at least 1MiB: write keep = "32MiB", or "0B" to keep nothing')


class Settings(Struct, frozen=True, kw_only=True):
    """A whole `forklight.toml` without `[defaults]`, which is merged into each function first."""

    functions: dict[Name, FunctionSettings] = {}
    """What runs, and on which events. Default: required."""
    http: HttpSettings = HttpSettings()
    """The listener for requests."""
    bus: BusSettings = BusSettings()
    """Where messages are stored."""
    brokers: dict[Name, BrokerSettings] = {}
    """Other brokers, to consume from and send to."""
    queues: dict[QueueName, Declaration] = {}
    """How queues on a broker are made, by their names: `orders` of the bus, `"orders@shop"` of `[brokers.shop]`."""
    admin: AdminSettings = AdminSettings()
    """Health, metrics and deploys over TCP."""
    log: LogSettings = LogSettings()
    """How much of the log is kept."""
    runtimes: dict[Name, RuntimeSettings] = {}
    """Interpreters and their libraries."""
    machine: MachineSettings = MachineSettings()
    """The machine it all runs on."""
    deploy: DeploySettings = DeploySettings()
    """What the server keeps of applications that are deployed to it, and lends them."""


def _is_dotted(text: str) -> bool:
    return all(part.isidentifier() for part in text.split("."))


def _likely_node_handler(text: str) -> str:
    """Return what `index.handler`, `src/app.js:handler`, `./index:handler` or `index` likely mean."""
    file, colon, export = text.removesuffix("()").removeprefix("./").partition(":")
    if not colon and not re.search(r"\.[cm]?[jt]s$", file):
        file, _, export = file.partition(".") if "/" not in file.rpartition(".")[2] else (file, "", "")
    file = re.sub(r"\.[cm]?[jt]s$", "", file)
    likely = f"{file}:{export or 'handler'}"
    return likely if _NODE_HANDLER.fullmatch(likely) else NodeHandler.example


def _likely_handler(text: str) -> str:
    """Return what `app.py:handler`, `src/app:handler`, `app.handler`, `app.py` or `my-app:handler()` likely mean."""
    module, colon, attribute = text.removesuffix("()").partition(":")
    is_file = module.endswith(".py")
    module = module.removesuffix(".py").removeprefix("./").strip("/").replace("/", ".").replace("-", "_")
    if not colon and not is_file:
        module, _, attribute = module.rpartition(".") if "." in module else (module, "", "")
    likely = f"{module}:{attribute or 'handler'}"
    return likely if re.fullmatch(r"\w[\w.]*:\w[\w.]*", likely) else Handler.example
