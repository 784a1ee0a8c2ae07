"""Why there are no namespaces, from what bubblewrap says and what the kernel's settings are."""

import pytest

from sandbox.containment import Mechanism
from sandbox.namespaces import KINDS, Kernel, why_missing

WORKS: dict[Mechanism, str] = dict.fromkeys([one for one in KINDS if one != Mechanism.MOUNT_NAMESPACE], "")
NO_PERMISSIONS = "bwrap: No permissions to create new namespace, likely because the kernel does not allow them"
UID_MAP = "bwrap: setting up uid map: Permission denied"
FULL = "bwrap: Creating new namespace failed: nesting depth or /proc/sys/user/max_*_namespaces exceeded (ENOSPC)"
NO_SLAVE = "bwrap: Failed to make / slave: Permission denied"
NO_PROC = "bwrap: Can't mount proc on /newroot/proc: Operation not permitted"


@pytest.mark.parametrize(
    ("said", "kernel", "why", "how"),
    [
        (NO_PERMISSIONS, Kernel(unprivileged=0), "kernel.unprivileged_userns_clone = 0", "sysctl -w kernel.unpriv"),
        (NO_PERMISSIONS, Kernel(is_filtered=True), "a filter of system calls around the server", "seccomp=unconfined"),
        (NO_PERMISSIONS, Kernel(apparmor=1), "AppArmor keeps programs from user namespaces", "a profile with `userns`"),
        (
            UID_MAP,
            Kernel(apparmor=1, most=9, is_filtered=True),
            "AppArmor keeps programs from user namespaces",
            "/usr/bin/bwrap",
        ),
        (NO_SLAVE, Kernel(), "Docker's, forbids mounts", "--security-opt apparmor=unconfined"),
        (FULL, Kernel(most=0), "user.max_user_namespaces = 0", "sysctl -w user.max_user_namespaces="),
        (FULL, Kernel(most=9), "no further namespaces may be made here", "outside of that sandbox"),
        (NO_PERMISSIONS, Kernel(), "bubblewrap fails: No permissions to create new namespace", ""),
        ("bwrap: what is new", Kernel(apparmor=1, unprivileged=0, most=0), "bubblewrap fails: what is new", ""),
    ],
)
def test_a_user_namespace_that_fails_is_the_reason_for_all(said: str, kernel: Kernel, why: str, how: str) -> None:
    missing = why_missing(said, dict.fromkeys(WORKS, said), kernel)
    assert missing.keys() == set(KINDS)
    [reason] = set(missing.values())
    assert why in reason.why
    assert how in reason.how
    assert (how == "") == (reason.how == "")


def test_what_fails_alone_is_missing_alone() -> None:
    alone = WORKS | {Mechanism.NETWORK_NAMESPACE: FULL, Mechanism.PROCESS_NAMESPACE: NO_PROC}
    missing = why_missing(NO_PROC, alone, Kernel(most=9))
    assert missing.keys() == {Mechanism.NETWORK_NAMESPACE, Mechanism.PROCESS_NAMESPACE}
    assert "parts of /proc are hidden" in missing[Mechanism.PROCESS_NAMESPACE].why


def test_what_fails_only_together_is_the_mount_namespace() -> None:
    missing = why_missing("bwrap: Can't remount", WORKS, Kernel())
    assert {one: reason.why for one, reason in missing.items()} == {
        Mechanism.MOUNT_NAMESPACE: "bubblewrap fails: Can't remount"
    }
