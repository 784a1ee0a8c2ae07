"""What the machine has, where mechanisms have really been taken away."""

import json
import subprocess
import sys

import pytest

from sandbox import isolation
from sandbox.containment import Level, Mechanism
from sandbox.namespaces import KINDS
from tests.kit.accounts import account
from tests.kit.levels import levels, why_not
from tests.kit.without import WITHOUT, without

_ASK = """
import json, os
from sandbox.launch import Account
from sandbox.namespaces import missing_namespaces
missing = missing_namespaces(Account(os.getuid(), os.getgid(), switch=False))
print(json.dumps({one: str(reason) for one, reason in missing.items()}))
"""
_PROCESSES, _NETWORK = {Mechanism.PROCESS_NAMESPACE}, {Mechanism.NETWORK_NAMESPACE}
_EXPECTED = {
    "bubblewrap": (set(KINDS), "bubblewrap is not installed: install the package bubblewrap"),
    "nested namespaces": (set(KINDS), "a sandbox around the server forbids them"),
    "user namespaces": (set(KINDS), "(user.max_user_namespaces = 0): sysctl -w"),
    "network namespaces": (_NETWORK, "user.max_*_namespaces is used up"),
    "calls for namespaces": (set(KINDS), "a filter of system calls around the server forbids namespaces"),
    "all of /proc": (_PROCESSES, "parts of /proc are hidden"),
}


@pytest.mark.ordinary_user
@pytest.mark.parametrize("what", WITHOUT)
def test_what_was_taken_away_is_missing_with_the_reason(what: str) -> None:
    done = subprocess.run(without(what, [sys.executable, "-c", _ASK]), capture_output=True, text=True, check=True)
    missing = json.loads(done.stdout)
    kinds, reason = _EXPECTED[what]
    assert set(missing) == kinds
    assert all(reason in told for told in missing.values())


def test_a_level_is_to_be_had_or_it_is_known_why_not() -> None:
    missing = {str(reason) for reason in isolation.find(account()).missing.values()}
    for level in set(Level) - set(levels()):
        assert any(reason in why_not(level) for reason in missing)
