"""The description of a runtime and of a function that the sandbox needs: frozen, with every default filled in."""

from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from sandbox.containment import Containment
from sandbox.kinds import KINDS, Abilities, Form, Kind
from sandbox.rehearsal import Scope

MIB = 1024 * 1024


class Runtime(Struct, frozen=True, kw_only=True):
    """How the functions of a runtime are run; each runtime has one zygote. `env` is set before it starts."""

    name: str
    python: Path
    """The interpreter of its zygote and its templates; of kind `python` also that of its functions."""
    kind: Kind = "python"
    command: tuple[str, ...] = ()
    """What runs a function of another kind: a program and its arguments. Its path is absolute, or begins with `./` in
    the function's code."""
    events: Form = "lambda"
    """What a command gets."""
    release: str = ""
    """What that program says of its version: another one is another runtime."""
    snapshot: bool = False
    """Whether templates load the function into a heap that its instances begin with."""
    prefix: Path | None = None
    """The `sys.prefix` that it must report. A different one means that it could not read its own libraries."""
    preload: tuple[str, ...] = ()
    env: dict[str, str] = {}

    @property
    def program(self) -> Path | None:
        """What its functions execute, if that is not a part of their code."""
        return Path(self.command[0]) if self.command and self.command[0].startswith("/") else None

    @property
    def abilities(self) -> Abilities:
        """What a runtime of its kind can do."""
        return KINDS[self.kind]


class Hooks(Struct, frozen=True, kw_only=True):
    """Callables, each as `module:attribute`."""

    init: str | None = None
    """Runs once in the template, after the import."""
    after_fork: str | None = None
    """Runs in each new instance, before its first event."""
    stop: str | None = None
    """Runs before an instance ends, for at most `grace`."""


class Limits(Struct, frozen=True, kw_only=True):
    """Limits of one instance, and of its template where the name says so."""

    memory_bytes: int = 256 * MIB
    """For one instance and every process it starts, on top of the memory shared with the template."""
    retire_memory_bytes: int | None = None
    """An instance that has more than this after a call is replaced, before `memory` would be the end of it and of its
    call. Default: no limit."""
    template_memory_bytes: int = 1024 * MIB
    """The memory limit of the template."""
    open_files: int = 1024
    """For each process."""
    max_file_bytes: int = 1024 * MIB
    """For each file that it writes, such as a database. Nothing limits how many there are."""
    max_result_bytes: int = 6 * MIB
    """For the result and the outputs of an invocation together."""
    log_bytes: int = 1 * MIB
    """For the log of one invocation; each line counts 100 bytes on top of its text. The rest is dropped."""

    def __post_init__(self) -> None:
        if self.retire_memory_bytes is not None and self.retire_memory_bytes >= self.memory_bytes:
            memory_mib = self.memory_bytes // MIB
            raise ValueError(
                f"retire_memory must be less than memory ({memory_mib} MiB), over which an instance is killed: "
                f'write retire_memory = "{memory_mib * 3 // 4}MiB"'
            )


class FunctionSpec(Struct, frozen=True, kw_only=True):
    """One version of one function. `code` is its read-only snapshot; `env` and `secrets` never reach the zygote."""

    name: str
    version: str
    code: Path
    handler: str
    runtime: Runtime
    env: dict[str, str] = {}
    secrets: dict[str, str] = {}
    hooks: Hooks = Hooks()
    limits: Limits = Limits()
    containment: Containment = Containment()
    log_level: str = "info"
    """The level of the root logger when the code is imported: one of LEVELS."""
    concurrency: int = 1
    """How many calls an instance runs at once, from 1. More than 1 requires an async handler."""
    timeout_s: float = 60.0
    grace_s: float = 0.5
    init_timeout_s: float = 30.0
    rehearsal: Scope = "libraries"
    """Which modules that handlers import its templates import ahead."""
    fetch: Callable[[], None] | None = None
    """Makes `code` before it is first loaded, if it may not be there. Blocks. Raises LoadFailed."""

    @property
    def tells_when_ready(self) -> bool:
        """Whether an instance first reports that it can take events: it runs a hook, or loads the function itself."""
        return self.hooks.after_fork is not None or not self.runtime.abilities.imports_ahead
