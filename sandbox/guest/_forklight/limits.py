"""The kernel's limits of a template and of its instances (setrlimit(2))."""

import resource
from typing import Any

from . import posix

_MAX_THREADS = 256
"""RLIMIT_DATA leaves room for this many. More can start if a function uses little else or `threading.stack_size`."""
_STACK_BYTES = 8 * 1024 * 1024


def of_template(limits: "dict[str, Any]") -> None:
    """Set the kernel's limits per process. The server watches memory that they do not count (memfd)."""
    resource.setrlimit(resource.RLIMIT_CORE, (1, 1))  # with 0, a core dump still goes to a program (core(5))
    if limits["processes"] is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
        most = _at_most(limits["processes"], hard)
        resource.setrlimit(resource.RLIMIT_NPROC, (most, most))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_at_most(limits["open_files"], hard), hard))
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    most = _at_most(limits["max_file_bytes"], hard)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    backstop = 4 * limits["template_memory_bytes"]
    resource.setrlimit(resource.RLIMIT_DATA, (backstop, backstop))


def of_instance(limits: "dict[str, Any]") -> "tuple[tuple[int, int], tuple[int, int]]":
    """RLIMIT_NOFILE and RLIMIT_DATA of an instance. The template itself gets all descriptors: one per instance."""
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    _, most_data = resource.getrlimit(resource.RLIMIT_DATA)
    files = _at_most(limits["open_files"], most_files)
    data = _at_most(posix.data_bytes() + 4 * limits["memory_bytes"] + _room_for_stacks(), most_data)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    return (files, files), (data, data)


def _room_for_stacks() -> int:
    """How much of RLIMIT_DATA to add for the stacks of threads, which count in full although most is never touched."""
    size, _ = resource.getrlimit(resource.RLIMIT_STACK)  # the size that glibc gives each thread
    return _MAX_THREADS * (_STACK_BYTES if size == resource.RLIM_INFINITY else min(size, _STACK_BYTES))


def _at_most(limit: int, hard: int) -> int:
    return limit if hard == resource.RLIM_INFINITY else min(limit, hard)
