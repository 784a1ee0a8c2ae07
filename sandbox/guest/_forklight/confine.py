"""What a template gives up for good before it imports the function; its instances, and what they start, never have it.

The server says what: its `confinement.py` explains each part. Whatever the kernel refuses ends the load, so that
nothing runs with less than was asked for.

Sources: capabilities(7), landlock(7), seccomp(2), prctl(2); linux/landlock.h.
"""

import ctypes
import os
import stat
import struct
from collections.abc import Callable
from typing import Any

from . import posix

_LANDLOCK_CREATE_RULESET, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT_SELF = 444, 445, 446
_LANDLOCK_RULE_PATH_BENEATH, _LANDLOCK_RULE_NET_PORT = 1, 2
_CONNECT_TCP = 1 << 1
_RULESET = struct.Struct("=QQQ")
"""struct landlock_ruleset_attr: rights on files and on TCP, and scopes. Older kernels take it if the rest is 0."""
_PATH_BENEATH, _NET_PORT = struct.Struct("=Qi"), struct.Struct("=QQ")
_FILE_RIGHTS = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15
"""To execute, write, read and truncate it, and ioctl(2) on a device; all others are rights on a folder."""


level = "limits"
"""The level of this process and all that it forks."""
has_network = True


class Unconfined(Exception):
    """The kernel has refused a part; the message says which, and why."""


def confine(wanted: "dict[str, Any] | None") -> None:
    """Give up what the server names. Raises Unconfined. None is level `limits`, which asks for nothing.

    The order matters: each step is forbidden after the next one, or needs the one before.
    """
    global level, has_network
    if wanted is None:
        return
    level, has_network = wanted["level"], wanted["network"]
    _do("capabilities", posix.limit_capabilities)
    _do("capabilities", posix.drop_capabilities, wanted["capabilities"])
    _do("no new privileges", posix.forbid_new_privileges)
    if wanted["landlock"] is not None:
        _do("Landlock", _restrict, wanted["landlock"])
    if wanted["seccomp"] is not None:
        _do("seccomp", posix.set_filter, bytes.fromhex(wanted["seccomp"]))


def _do(what: str, step: "Callable[..., None]", *arguments: Any) -> None:
    try:
        step(*arguments)
    except OSError as error:
        raise Unconfined(f"{what}: {error.strerror}") from None


def _restrict(wanted: "dict[str, Any]") -> None:
    """Restrict this process by Landlock: what a rule grants, and nothing else of what the ruleset names."""
    on_tcp = 0 if wanted["ports"] is None else _CONNECT_TCP
    attributes = ctypes.create_string_buffer(_RULESET.pack(wanted["files"], on_tcp, wanted["scopes"]), _RULESET.size)
    rules = posix.system_call(_LANDLOCK_CREATE_RULESET, ctypes.addressof(attributes), _RULESET.size, 0)
    try:
        for path, rights in wanted["paths"]:
            _grant(rules, path, rights)
        for port in wanted["ports"] or ():
            rule = ctypes.create_string_buffer(_NET_PORT.pack(_CONNECT_TCP, port), _NET_PORT.size)
            posix.system_call(_LANDLOCK_ADD_RULE, rules, _LANDLOCK_RULE_NET_PORT, ctypes.addressof(rule), 0)
        posix.system_call(_LANDLOCK_RESTRICT_SELF, rules, 0)
    finally:
        os.close(rules)


def _grant(rules: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):  # what cannot be reached needs no rule
        return
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            rights &= _FILE_RIGHTS
        rule = ctypes.create_string_buffer(_PATH_BENEATH.pack(rights, place), _PATH_BENEATH.size)
        posix.system_call(_LANDLOCK_ADD_RULE, rules, _LANDLOCK_RULE_PATH_BENEATH, ctypes.addressof(rule), 0)
    finally:
        os.close(place)
