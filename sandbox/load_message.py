"""What a template is told to load, and how it reads if it ended over it. Pure."""

from pathlib import Path

from sandbox import hardware
from sandbox.confinement import Confinement
from sandbox.containment import Containment, Level
from sandbox.endings import Died, ending
from sandbox.errors import LoadFailed
from sandbox.last_words import below, hidden, quoted
from sandbox.launch import search_path
from sandbox.spec import FunctionSpec, Runtime
from sandbox.stacks import NONE_OF_A_SNAPSHOT

_COUNTS_IN_BOXES = hardware.kernel() >= (5, 14)
_TEMPLATE, _HOLDER = 1, 2
"""How many processes there are besides those of instances."""
_TOO_MUCH_MEMORY = "it used too much memory"


def load_message(
    spec: FunctionSpec,
    folder: Path,
    rehearse: dict[str, object] | None,
    confine: Confinement | None,
    *,
    counted: bool,
    guest_makes_folder: bool,
) -> dict[str, object]:
    """The `load` message. `folder` is the private one of the process, `confine` what it does to itself first.

    `counted`: a control group counts its processes.
    """
    own = {
        "PATH": search_path(spec.runtime),
        "LANG": "C.UTF-8",
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "FORKLIGHT_FUNCTION": spec.name,
        "FORKLIGHT_VERSION": spec.version,
    }
    function = {
        "name": spec.name,
        "version": spec.version,
        "handler": spec.handler,
        "runtime": spec.runtime.name,
        "hooks": {"init": spec.hooks.init, "after_fork": spec.hooks.after_fork, "stop": spec.hooks.stop},
        "max_result": spec.limits.max_result_bytes,
        "concurrency": spec.concurrency,
    }
    limits = {
        "memory_bytes": spec.limits.memory_bytes,
        "template_memory_bytes": spec.limits.template_memory_bytes,
        "open_files": spec.limits.open_files,
        "max_file_bytes": spec.limits.max_file_bytes,
        "processes": most_processes(spec.containment, counted=counted),
    }
    env = {**own, **spec.runtime.env, **spec.env, **spec.secrets}
    load = {"t": "load", "n": 0, "code": str(spec.code), "function": function, "limits": limits, "env": env}
    if guest_makes_folder:
        load["folder"] = str(folder)
    return load | {
        "log_level": spec.log_level,
        "rehearse": rehearse,
        "confine": confine,
        "program": _program(spec.runtime),
    }


def _program(runtime: Runtime) -> dict[str, object] | None:
    """What instances are if they are another program than the template."""
    if runtime.kind == "python":
        return None
    return {
        "kind": runtime.kind,
        "command": runtime.command,
        "events": runtime.events,
        "release": runtime.release,
        "snapshot": runtime.snapshot,
    }


def most_processes(containment: Containment, *, counted: bool) -> int | None:
    """What RLIMIT_NPROC is for the function's processes; None if it is of no use.

    It counts all processes and threads of a user, in a box only those that live there (since Linux 5.14).
    """
    is_boxed = containment.level is Level.NAMESPACES and _COUNTS_IN_BOXES
    if counted or not (is_boxed or containment.uid is not None):
        return None
    return containment.max_processes + _TEMPLATE + is_boxed * _HOLDER


def too_much_memory(used_kb: int) -> str:
    """The reason to end a template that has so much."""
    return f"{_TOO_MUCH_MEMORY}: {used_kb >> 10} MiB at its peak"


def load_error(spec: FunctionSpec, reason: str, how: Died, stack: str, words: list[str]) -> LoadFailed:
    """The error of a template that ended while it loaded: too slow, too large, or crashed.

    `words`: the last lines that it has printed.
    """
    limit_mib = spec.limits.template_memory_bytes >> 20
    if spec.runtime.snapshot:
        stack = NONE_OF_A_SNAPSHOT
    if reason.startswith(_TOO_MUCH_MEMORY):
        peak = reason.removeprefix(_TOO_MUCH_MEMORY)
        return LoadFailed("InitFailed", f"loading {spec.name!r} used more than template_memory, {limit_mib} MiB{peak}")
    if how.out_of_memory:
        told = f"the process that loaded {spec.name!r} ended; template_memory is {limit_mib} MiB"
        return LoadFailed("InitFailed", f"{told}: {how.out_of_memory}")
    if reason.startswith("no answer"):
        return too_slow(f"loading {spec.name!r}", spec, below(stack, words))
    told = reason if how.code is None else ending(how.code)
    failed = LoadFailed("InitFailed", f"the process that loaded {spec.name!r} ended: {told}", stack)
    return quoted(failed, words, spec)


def too_slow(what: str, spec: FunctionSpec, told: str) -> LoadFailed:
    """The error of a start that takes longer than it may. `told`: the stack, and what else is below the message."""
    message = f"{what} took longer than init_timeout, {spec.init_timeout_s:g} s{spec.runtime.abilities.unready}"
    return hidden(LoadFailed("InitTimeout", message, told), spec)
