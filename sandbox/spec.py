"""What the sandbox has to know of a runtime and of a function: frozen, complete, with every default filled in."""

from pathlib import Path

from msgspec import Struct

MIB = 1024 * 1024


class Runtime(Struct, frozen=True, kw_only=True):
    """An interpreter and what it preloads; one zygote each. `env` is in the zygote's environment from the start."""

    name: str
    python: Path
    prefix: Path | None = None
    """The `sys.prefix` it must report; another one means that it could not read its own libraries."""
    preload: tuple[str, ...] = ()
    env: dict[str, str] = {}


class Hooks(Struct, frozen=True, kw_only=True):
    """Callables, each named `module:attribute`."""

    init: str | None = None
    """Runs once in the template, after the import."""
    after_fork: str | None = None
    """Runs in each new instance, before it is given an event."""
    stop: str | None = None
    """Runs before an instance ends, for at most `grace`."""


class Limits(Struct, frozen=True, kw_only=True):
    """What one instance (and, for `template_memory_bytes`, one template) may use."""

    memory_bytes: int = 256 * MIB
    """Of one instance and all that it starts, on top of what it shares with the template."""
    template_memory_bytes: int = 1024 * MIB
    """Of the template."""
    open_files: int = 1024
    """Of one process."""
    max_result_bytes: int = 6 * MIB
    """What a handler may return."""
    log_bytes: int = 1 * MIB
    """Kept of the log of one invocation; each line counts 100 bytes on top of its text."""


class FunctionSpec(Struct, frozen=True, kw_only=True):
    """One version of one function. `code` is its read-only snapshot; `env` and `secrets` reach only its template."""

    name: str
    version: str
    code: Path
    handler: str
    runtime: Runtime
    env: dict[str, str] = {}
    secrets: dict[str, str] = {}
    hooks: Hooks = Hooks()
    limits: Limits = Limits()
    log_level: str = "info"
    """Of the root logger when the code is imported: one of LEVELS."""
    timeout_s: float = 60.0
    grace_s: float = 0.5
    init_timeout_s: float = 30.0
