"""`[machine] uids`: the range of users of which each function gets one, and what is wrong with a range here. Blocks."""

import grp
import os
import pwd
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from forklight.config.document import Node
from forklight.config.problem import Problem
from forklight.state.uids import Exhausted, UidsError, allot, read_uids
from forklight.state.users import User, is_this_process
from sandbox.launch import Uids
from sandbox.probes import seccomp_problem

_MOST = 2**32 - 3
"""-1 means no change, and the kernel shows users of another namespace as the one before."""
_MOST_NAMES = 5


class UidRange(str):
    """`FIRST-LAST`, numbers of users and groups."""

    __slots__ = ()
    example: ClassVar[str] = "200000-200999"

    @classmethod
    def parse(cls, text: str) -> "UidRange":
        """Raises ValueError."""
        first, dash, last = text.partition("-")
        if not (dash and all(part.isascii() and part.isdecimal() for part in (first, last))):
            raise ValueError(f'is not a range of users: write two numbers, such as "{cls.example}"')
        if not 0 < int(first) < int(last) <= _MOST:
            raise ValueError(
                f"is no range: the first number must be from 1, and the last greater than that and at most {_MOST}"
            )
        return cls(text)

    @property
    def uids(self) -> Uids:
        """The range."""
        first, _, last = self.partition("-")
        return Uids(int(first), int(last))


def uid_problems(user: User, names: Iterable[str], path: Path, place: Node) -> Iterator[Problem]:
    """Yield why these functions cannot have users of their own here. `path`: the file of those that have some."""
    uids = user.uids
    if uids is None:
        return
    if problem := seccomp_problem():  # without a filter, what starts functions could become anybody
        yield place.problem(f"cannot be had: {problem}; leave it out")
    for kind, number in (("user", user.uid), ("group", user.gid)):
        if uids.first <= number <= uids.last:
            which = f"{number}, the {kind} {user.name!r} of the functions that share one"
            yield place.problem(f"contains {which}: take another range")
    for kind, told in (("uid", "users"), ("gid", "groups")):
        if not is_mapped(uids, Path(f"/proc/self/{kind}_map")):
            remedy = "take numbers that the container has, or give it more (such as /etc/subuid for Podman)"
            yield place.problem(f"has {told} that this container does not have: {remedy}")
    try:
        allot(path, read_uids(path), names, uids)
    except Exhausted as error:
        listed = ", ".join(error.without[:_MOST_NAMES])
        more = f" and {len(error.without) - _MOST_NAMES} more" if len(error.without) > _MOST_NAMES else ""
        has = f"has {uids.last - uids.first + 1} numbers, which leaves none for {listed}{more}"
        why = "the zygotes have one, and every function keeps the one that it got"
        remedy = f"widen it to {error.least} or more, or free some of functions that are gone: {path} says how"
        yield place.problem(f"{has}: {why}; {remedy}")
    except UidsError as error:
        yield place.problem(str(error))


def user_warnings(user: str | None, uids: UidRange | None, machine: Node) -> Iterator[Problem]:
    """Yield which key of `[machine]` has no effect, and whose users the range contains."""
    if os.geteuid() != 0:
        if user and not is_this_process(user):
            yield machine.at("user").problem("has no effect: only root can run functions as another user")
        if uids:
            yield machine.at("uids").problem("has no effect: only root can run functions as other users")
    elif uids:
        yield from _taken(uids.uids, machine.at("uids"))


def _taken(uids: Uids, place: Node) -> Iterator[Problem]:
    """Yield which numbers are a person's or a service's, and which are lent to containers."""
    found = {f"the user {one.pw_name!r}": one.pw_uid for one in pwd.getpwall()}
    found |= {f"the group {one.gr_name!r}": one.gr_gid for one in grp.getgrall()}
    for whose, number in found.items():
        if uids.first <= number <= uids.last:
            yield place.problem(f"contains {number}, {whose}, whose rights a function would have: take another range")
    for file in (Path("/etc/subuid"), Path("/etc/subgid")):
        for owner, lent in _lent(file):
            if lent.first <= uids.last and uids.first <= lent.last:
                yield place.problem(
                    f"overlaps {lent.first}-{lent.last}, which {file} lends to {owner!r} for containers: "
                    "take another range"
                )


def _lent(file: Path) -> Iterator[tuple[str, Uids]]:
    """The lines of subuid(5): an owner, a first number and a count."""
    with suppress(OSError, UnicodeDecodeError):
        for line in file.read_text().splitlines():
            parts = line.split(":")
            if len(parts) == 3 and parts[1].isdecimal() and parts[2].isdecimal() and int(parts[2]):
                yield parts[0], Uids(int(parts[1]), int(parts[1]) + int(parts[2]) - 1)


def is_mapped(uids: Uids, file: Path) -> bool:
    """Whether all numbers exist in this user namespace (user_namespaces(7)): in a container, others do not."""
    try:
        lines = [tuple(map(int, line.split())) for line in file.read_text().splitlines()]
    except (OSError, ValueError):
        return True
    at = uids.first
    for inside, _, count in sorted(lines):
        if inside <= at < inside + count:
            at = inside + count
    return at > uids.last
