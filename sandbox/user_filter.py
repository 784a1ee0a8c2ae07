"""The seccomp filter of a zygote that may change its user: it can become one of some users, and nobody else. Pure.

A zygote that gives each function a user of its own has CAP_SETUID and CAP_SETGID (`launch.py`). What it can do with
them is narrowed here, before it imports anything, and everything below it inherits the filter. Besides the calls that
change users and groups, it refuses new user namespaces: whoever has CAP_SETUID may map any user into one
(user_namespaces(7)). clone3 passes its flags in memory, where no filter can look, so it does not exist; the C library
then uses clone.
"""

from collections.abc import Iterator
from errno import ENOSYS, EPERM

from msgspec import Struct

from sandbox.bpf import Case, Condition, Is, Rules, assemble

_NEW_USERS = 0x10000000  # CLONE_NEWUSER
_UNCHANGED = 0xFFFFFFFF  # -1: leave this id as it is
_USERS_IN = {"setuid": 1, "setreuid": 2, "setresuid": 3}
_GROUPS_IN = {"setgid": 1, "setregid": 2, "setresgid": 3}
"""How many ids each takes, the first arguments."""


class Ids(Struct, frozen=True):
    """The ids that a process may take: a range with both ends, and one beside it."""

    first: int
    last: int
    also: int


def user_filter(users: Ids, groups: Ids, machine_name: str) -> bytes:
    """The program for `user_rules(…)`. Raises KeyError for a machine that there is none for."""
    return assemble(user_rules(users, groups), machine_name)


def user_rules(users: Ids, groups: Ids) -> Rules:
    """The verdicts on the calls that change users and groups, or lead around these rules."""
    new_users = (Case(EPERM, (Condition(0, _NEW_USERS, mask=_NEW_USERS),)),)
    return {
        "setfsuid": (Case(EPERM),),
        "setfsgid": (Case(EPERM),),
        "setgroups": (Case(EPERM),),
        "clone3": (Case(ENOSYS),),
        "unshare": new_users,
        "clone": new_users,
        **{name: tuple(_only(users, count)) for name, count in _USERS_IN.items()},
        **{name: tuple(_only(groups, count)) for name, count in _GROUPS_IN.items()},
    }


def _only(ids: Ids, count: int) -> Iterator[Case]:
    """Refuse a call if one of its first arguments is neither one of `ids` nor -1."""
    for at in range(count):
        another = (Condition(at, _UNCHANGED, is_=Is.NOT_EQUAL), Condition(at, ids.also, is_=Is.NOT_EQUAL))
        yield Case(EPERM, (*another, Condition(at, ids.first, is_=Is.BELOW)))
        yield Case(EPERM, (*another, Condition(at, ids.last, is_=Is.ABOVE)))
