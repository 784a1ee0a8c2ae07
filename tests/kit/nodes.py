"""The Node.js that tests run functions of that runtime with: the one on PATH."""

import functools
import shutil
import subprocess
from pathlib import Path

from forklight.code.node import OLDEST_WITH_SNAPSHOTS
from forklight.code.node import major as major_of
from sandbox.spec import Runtime


@functools.cache
def release() -> str:
    """Its version, such as `20.11.1`; empty if there is none."""
    path = shutil.which("node")
    if path is None:
        return ""
    return subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout.strip().strip("v")


def major() -> int:
    """The first number of its version; 0 if there is none."""
    return major_of(release() or "0")


def has_snapshots() -> bool:
    """Whether it can build startup snapshots of functions."""
    return major() >= OLDEST_WITH_SNAPSHOTS


def node_runtime(own: Path, *, snapshot: bool = False) -> Runtime:
    """Given the interpreter of templates."""
    path = shutil.which("node")
    assert path is not None
    name = "snapshot" if snapshot else "node"
    return Runtime(name=name, kind="node", python=own, command=(path,), release=release(), snapshot=snapshot)
