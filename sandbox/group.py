"""The control group of one template and all its instances: what they may use together, and what the kernel tells of it.

The limit on memory is a backstop, because the sweep watches each instance by itself, four times a second. What outruns
the sweep, or what it cannot see, ends where the group may have no more: the kernel kills the largest process in it. So
the limit follows the number of instances: it is what the template has, plus for each instance its `memory` with some
room for what a process needs in the kernel, plus what the files of a box may have. While the template loads it is
`template_memory`. With the first instance it falls to what is in use, and from then on it only rises, because the
kernel may have to free memory to lower it.
"""

import contextlib
import errno
import os
import signal
import time
from pathlib import Path
from typing import Literal

from sandbox.cgroups import Controller, Groups
from sandbox.containment import Containment, Level
from sandbox.load_message import most_processes
from sandbox.processes import read_proc
from sandbox.spec import MIB, FunctionSpec
from sandbox.strain import Strain, Strains

_ROOM_BYTES = 32 * MIB
"""For each process on top of its memory and a quarter of it: page tables, sockets, what it grows between two looks."""
_FIRST = -20
"""The priority of a template that kills as many processes as there may be."""
_REMOVAL_LIMIT_S = 5.0
_PERIOD_US = 100_000
_LEAST_QUOTA_US = 1000
"""The kernel's own period, and the least processor time in one that it accepts."""
Version = Literal[1, 2]

_MEMORY: dict[Version, tuple[str, ...]] = {
    1: ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"),
    2: ("memory.max",),
}
"""The second of version 1 is for memory and swap together, and never below the first."""
_MEMORY_PEAK: dict[Version, str] = {1: "memory.max_usage_in_bytes", 2: "memory.peak"}
_KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL, None)
"""The codes of a process that the kernel may have ended: by the signal, or as one that ends as its child did."""
_FULL = 0.95
"""of the limit: at a lower peak it was not the group's limit that a process was killed for"""
_MEMORY_EVENTS: dict[Version, str] = {1: "memory.oom_control", 2: "memory.events"}


class Group:
    """One group, in each hierarchy that has a part in it. Its methods block; only `admit` may take longer than 1 ms."""

    def __init__(self, groups: Groups, n: int) -> None:
        """`n`: the number of the template."""
        self._folders = {name: place.folder / f"t{n}" for name, place in groups.folders.items()}
        self._versions: dict[Controller, Version] = {name: place.version for name, place in groups.folders.items()}
        self._pressure = None if groups.pressure is None else groups.pressure / f"t{n}"
        self.strains = Strains(self._strain if self._pressure or "cpu" in self._folders else None)
        """What its processes have waited for."""
        self.memory_bytes = 0
        """The limit; 0 if there is none."""
        self._most_bytes = 0
        """The highest limit for instances so far."""
        self._refused = 0
        """How many forks the kernel has refused, as far as known."""
        self.holds_forks = False
        """Whether no process in it may fork, until the remains of dead instances are gone."""
        self._kills = 0
        """How many kills of the kernel are known."""

    @property
    def exists(self) -> bool:
        """Whether there is one at all."""
        return bool(self._all())

    @property
    def bounds_processes(self) -> bool:
        return "pids" in self._folders

    def admit(self, pid: int, spec: FunctionSpec) -> None:
        """Make the group, with the limits of the function, and move a newborn template into it. Raises OSError."""
        folders = self._all()
        for folder in folders:
            folder.mkdir(exist_ok=True)
        self._bound(spec)
        for folder in folders:
            with contextlib.suppress(ProcessLookupError):  # it has died; its pidfd says so
                _write(folder / "cgroup.procs", pid)

    def _all(self) -> set[Path]:
        return {*self._folders.values(), *([self._pressure] if self._pressure else [])}

    def _bound(self, spec: FunctionSpec) -> None:
        self._allow(_with_room(spec.limits.template_memory_bytes))
        if (memory := self._folders.get("memory")) is not None and self._versions["memory"] == 2:
            with contextlib.suppress(FileNotFoundError):  # a kernel without swap
                _write(memory / "memory.swap.max", 0)
        if (pids := self._folders.get("pids")) is not None:
            _write(pids / "pids.max", _most_pids(spec))
        if (cpu := self._folders.get("cpu")) is not None and spec.containment.cpu is not None:
            quota_us = max(_LEAST_QUOTA_US, round(spec.containment.cpu * _PERIOD_US))
            self._bound_cpu(cpu, quota_us)

    def _bound_cpu(self, folder: Path, quota_us: int) -> None:
        if self._versions["cpu"] == 2:
            return _write(folder / "cpu.max", f"{quota_us} {_PERIOD_US}")
        try:
            _write(folder / "cpu.cfs_period_us", _PERIOD_US)
            _write(folder / "cpu.cfs_quota_us", quota_us)
        except OSError as error:
            if error.errno != errno.EINVAL:  # else a group around ours allows less already
                raise
        return None

    def allow_instances(self, count: int, spec: FunctionSpec, template_kb: int) -> None:
        """Let the group have memory for so many instances beside the template."""
        files_bytes = 2 * spec.containment.scratch_bytes if spec.containment.level is Level.NAMESPACES else 0
        wanted_bytes = _with_room(template_kb * 1024) + count * _with_room(spec.limits.memory_bytes) + files_bytes
        if wanted_bytes > self._most_bytes:
            self.strains.note(time.monotonic_ns())  # what was waited for while it loaded is not the first call's
            self._most_bytes = wanted_bytes
            with contextlib.suppress(OSError):  # it could not be lowered
                self._allow(wanted_bytes)

    def _allow(self, memory_bytes: int) -> None:
        folder = self._folders.get("memory")
        if folder is None:
            return
        names = _MEMORY[self._versions["memory"]]
        for name in reversed(names) if 0 < self.memory_bytes < memory_bytes else names:
            with contextlib.suppress(FileNotFoundError):  # a kernel that does not count swap
                _write(folder / name, memory_bytes)
        self.memory_bytes = memory_bytes

    def why_killed(self, code: int | None, seen_kb: int) -> str:
        """What the kernel has killed a process of the group for, if that was memory; empty if it has not.

        `code` is minus the signal that it ended by, `seen_kb` the memory that it was last seen with.
        """
        folder = self._folders.get("memory")
        if folder is None or code not in _KILLED or not self._has_killed(folder):
            return ""
        peak = _lines(folder / _MEMORY_PEAK[self._versions["memory"]])  # version 2 has it since Linux 5.19
        peak_bytes = int(peak[0]) if peak else self.memory_bytes
        seen = f"{seen_kb >> 10} MiB of it in this one when last seen"
        if peak_bytes < self.memory_bytes * _FULL:
            return f"the kernel ended the process, because the machine had no memory left; {seen}"
        limit_mib, peak_mib = self.memory_bytes >> 20, peak_bytes >> 20
        told = f"the function's processes together used more than their {limit_mib} MiB of memory"
        return f"{told}: {peak_mib} MiB at their peak, {seen}, which the kernel ended"

    def _has_killed(self, folder: Path) -> bool:
        """Whether the kernel has killed one more process of the group than was asked for so far."""
        kills = _number(folder / _MEMORY_EVENTS[self._versions["memory"]], "oom_kill") or 0
        found = kills > self._kills
        self._kills += found
        return found

    def is_full(self) -> bool:
        """Whether it has as many processes and threads as it may."""
        folder = self._folders.get("pids")
        if folder is None:
            return False
        current, most = _lines(folder / "pids.current"), _lines(folder / "pids.max")
        return bool(current and most) and int(current[0]) >= int(most[0])

    def hold_forks(self, template_pid: int) -> None:
        """An instance is dead. If its processes fork as fast as its template kills them, nothing may fork meanwhile.

        The template is one of as many processes as there may be, and has to come before them.
        """
        folder = self._folders.get("pids")
        refused = 0 if folder is None else _number(folder / "pids.events", "max") or 0
        if folder is not None and refused > self._refused:
            self._refused = refused
            self.holds_forks = True
            with contextlib.suppress(OSError):
                _write(folder / "pids.max", 0)
                os.setpriority(os.PRIO_PROCESS, template_pid, _FIRST)

    def release_forks(self, template_pid: int, spec: FunctionSpec) -> None:
        """All that dead instances had started is gone."""
        self.holds_forks = False
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, template_pid, 0)
            _write(self._folders["pids"] / "pids.max", _most_pids(spec))

    def why_no_fork(self, number: int, containment: Containment) -> str:
        """What stood in the way of a fork of the template, which failed with this error."""
        is_counted_otherwise = most_processes(containment, counted=self.bounds_processes) is not None
        if number == errno.EAGAIN and (is_counted_otherwise or self.is_full()):
            return f"all {containment.max_processes} processes and threads that it may have are taken (max_processes)"
        return os.strerror(number)

    def _strain(self) -> Strain:
        """About 10 µs a figure."""
        folder = self._pressure
        found = {}
        if folder is not None:
            found = {f"{name}_us": _pressure(folder / f"{name}.pressure") for name in ("memory", "io", "cpu")}
        return Strain(throttled_us=self._throttled_us(), **found)

    def _throttled_us(self) -> int | None:
        folder = self._folders.get("cpu")
        if folder is None:
            return None
        if self._versions["cpu"] == 2:
            return _number(folder / "cpu.stat", "throttled_usec")
        nanoseconds = _number(folder / "cpu.stat", "throttled_time")
        return None if nanoseconds is None else nanoseconds // 1000

    def remove(self) -> bool:
        """Kill whatever is left in the group, and remove it; returns whether it is gone. May take seconds."""
        end = time.monotonic() + _REMOVAL_LIMIT_S
        while not (is_gone := self._remove_empty()) and time.monotonic() < end:
            self._kill()
            time.sleep(0.002)
        return is_gone

    def _kill(self) -> None:
        """Kill all processes in the group. The kernel does so at once in version 2, since Linux 5.14."""
        if (pids := self._folders.get("pids")) is not None:
            with contextlib.suppress(OSError):
                _write(pids / "pids.max", 0)
        for folder in self._all():
            if (folder / "cgroup.kill").exists():
                with contextlib.suppress(OSError):
                    _write(folder / "cgroup.kill", 1)
            else:
                for pid in _lines(folder / "cgroup.procs"):
                    _kill_member(int(pid), folder)

    def _remove_empty(self) -> bool:
        for folder in self._all():
            try:
                folder.rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                return False
        return True


def _kill_member(pid: int, folder: Path) -> None:
    """Kill a process that is in this group, and no other that has got its pid meanwhile."""
    with contextlib.suppress(OSError):
        pidfd = os.pidfd_open(pid)
        try:
            if f"/{folder.parent.name}/{folder.name}" in _groups_of(pid):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        finally:
            os.close(pidfd)


def _groups_of(pid: int) -> set[str]:
    """The last two names of the path of each group that a process is in."""
    paths = (line.rpartition(":")[2].split("/") for line in _lines(Path(f"/proc/{pid}/cgroup")))
    return {"/" + "/".join(path[-2:]) for path in paths}


def _most_pids(spec: FunctionSpec) -> int:
    return spec.containment.max_processes + 1  # and the template


def _with_room(memory_bytes: int) -> int:
    return memory_bytes + memory_bytes // 4 + _ROOM_BYTES


def _write(file: Path, value: object) -> None:
    fd = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, str(value).encode())
    except OSError as error:
        error.filename = str(file)
        raise
    finally:
        os.close(fd)


def _number(file: Path, name: str) -> int | None:
    """The number after a name, such as `oom_kill 3`, in a file of such lines."""
    for line in _lines(file):
        if line.startswith(f"{name} "):
            return int(line.partition(" ")[2])
    return None


def _pressure(file: Path) -> int | None:
    """The microseconds of `some … total=` (PSI)."""
    return next((int(line.rpartition("total=")[2]) for line in _lines(file) if line.startswith("some ")), None)


def _lines(file: Path) -> list[str]:
    """None if the group is gone, or the kernel has no such file."""
    try:
        return read_proc(str(file)).decode().splitlines()
    except OSError:
        return []
