"""The mechanisms that contain the functions of this server, and those that are missing, with the reason. For `ps`."""

from msgspec import Struct


class Isolation(Struct, frozen=True):
    """The isolation level and its mechanisms. `missing` maps each mechanism that is not in force to the reason."""

    level: str
    in_force: tuple[str, ...]
    missing: dict[str, str]


def current(*, as_root: bool) -> Isolation:
    """The isolation of this version: level `limits`. `as_root`: the server runs as root, functions as another user."""
    in_force = (
        "session of its own",
        "limits on open files, file size and core dumps",
        "memory watched",
        "timeout by SIGKILL of all it started",
        "scrubbed environment",
        "closed descriptors",
        "no new privileges",
        "no ptrace",
        "killed before the server when memory ends",
    )
    missing = {"namespaces": "not built in this version", "seccomp and Landlock filters": "not built in this version"}
    if not as_root:
        missing["a user of its own"] = "not started as root: functions could signal the server and read its files"
    return Isolation("limits", in_force, missing)
