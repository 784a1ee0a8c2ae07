"""Who functions of the tests run as."""

import os
import pwd

from sandbox.launch import Account, Uids

_FIRST = 300_000 + os.getpid() % 10_000 * 100
OWN_USERS = Uids(_FIRST, _FIRST + 99)
"""For functions that have users of their own. No other run of the tests has these: what ends a user's processes, or
counts them, would find those of both."""


def account(uids: Uids | None = None) -> Account:
    """As root, functions run as `nobody`, or with `uids` as users of their own; otherwise as the user we are."""
    if os.getuid() != 0:
        return Account(os.getuid(), os.getgid(), switch=False)
    nobody = pwd.getpwnam("nobody")
    return Account(nobody.pw_uid, nobody.pw_gid, switch=True, uids=uids)
