"""The control groups that this machine lets the tests make: none for most ordinary users."""

from pathlib import Path

from sandbox import cgroups
from sandbox.cgroups import Controller

FOUND = cgroups.find()


def can(*controllers: Controller) -> bool:
    """Whether all of these can be used here. A test without them asserts that it is said why (`told`)."""
    return all(name in FOUND.places for name in controllers)


def told(*controllers: Controller) -> bool:
    """Whether one of these cannot be used here, with a reason and a remedy for it."""
    return any(name in FOUND.lacks and FOUND.lacks[name].why and FOUND.lacks[name].how for name in controllers)


def group_of(pid: int, controller: Controller) -> Path:
    """The folder of the group that a process is in."""
    mountinfo, own = Path("/proc/self/mountinfo").read_text(), Path(f"/proc/{pid}/cgroup").read_text()
    place = FOUND.places[controller]
    for one in cgroups.mounted(mountinfo, own):
        if one.version == place.version and (one.version == 2 or controller in one.controllers):
            return one.group
    raise LookupError(controller)
