"""What `doctor` makes of the mechanisms of a machine and the wishes of functions."""

from pathlib import Path

import pytest

from forklight.checking.diagnosis import Check, diagnose, wants
from sandbox.containment import Endpoint, Level, Mechanism, Mount
from sandbox.levels import Asked, Found, Missing, mechanisms_of

WHY = Missing("it is not installed", "install it")
LIMITS = Asked(level=Level.LIMITS)


def without(*mechanisms: Mechanism) -> Found:
    return Found(dict.fromkeys(mechanisms, WHY))


def unmet(found: Found, **asked: Asked) -> set[str]:
    return {one.name for one in diagnose(found, asked).mechanisms if one.wanted_by and not one.in_force}


def test_every_mechanism_has_one_line() -> None:
    diagnosis = diagnose(Found(details={Mechanism.SIGNAL_SCOPE: "ABI 7"}), {"f": Asked(cpu=1.0, network=False)})
    assert sorted(one.name for one in diagnosis.mechanisms) == sorted(Mechanism)
    scope = next(one for one in diagnosis.mechanisms if one.name == Mechanism.SIGNAL_SCOPE)
    assert (scope.level, scope.in_force, scope.wanted_by, scope.detail) == (Level.FILTERS, True, ("f",), "ABI 7")
    assert (diagnosis.status, diagnosis.best) == ("complete", Level.NAMESPACES)


def test_what_a_box_makes_needless_is_wanted_without_one() -> None:
    spared = (Mechanism.USER_PER_FUNCTION, Mechanism.USER_APART, Mechanism.FILE_RULES, Mechanism.PROCESS_CGROUP)
    assert unmet(without(*spared), f=Asked()) == set()
    assert unmet(without(*spared, Mechanism.USER_NAMESPACE), f=Asked()) == {*spared, Mechanism.USER_NAMESPACE}
    assert unmet(without(*spared), f=Asked(), g=LIMITS) == {*spared} - {Mechanism.FILE_RULES}


def test_what_only_some_functions_need_is_wanted_by_them() -> None:
    special = (Mechanism.CPU_CGROUP, Mechanism.NETWORK_NAMESPACE, Mechanism.TCP_RULES)
    assert unmet(without(*special), f=Asked()) == set()
    assert unmet(without(*special), f=Asked(cpu=0.5)) == {Mechanism.CPU_CGROUP}
    assert unmet(without(*special), f=Asked(network=False)) == {Mechanism.NETWORK_NAMESPACE}
    place = Asked(network=(Endpoint("db", 1),))
    assert unmet(without(*special), f=place) == {Mechanism.NETWORK_NAMESPACE, Mechanism.TCP_RULES}
    assert unmet(without(Mechanism.TCP_RULES), f=place) == set()


def test_the_status_says_the_worst() -> None:
    missing, bad = without(Mechanism.MEMORY_CGROUP), Check("state", False, "is full")
    assert diagnose(Found(), {}).status == "complete"
    assert diagnose(missing, {}).status == "incomplete"
    assert diagnose(Found(), {}, [bad]).status == "incomplete"
    assert diagnose(Found(), {}, problems=("f.toml:1",)).status == "refused"
    refused = diagnose(without(Mechanism.CPU_CGROUP), {"f": Asked(cpu=0.5), "g": Asked()})
    assert (refused.status, refused.functions[0].level, refused.functions[1].level) == ("refused", None, "namespaces")
    assert "it is not installed: install it" in refused.functions[0].refused[0].why


def test_what_a_function_asks_for_is_told_as_it_is_written() -> None:
    asked = Asked(
        level=Level.FILTERS,
        network=(Endpoint("db", 1), Endpoint("::1", 2)),
        mounts=(Mount(Path("/a"), Path("/b"), writable=True), Mount(Path("/c"), Path("/c"))),
        scratch_bytes=3 * 1024 * 1024,
        max_processes=9,
        cpu=0.5,
    )
    assert diagnose(Found(), {"f": asked}).functions[0].asked == {
        "isolation": "filters",
        "network": "db:1, [::1]:2",
        "mounts": "/a:/b:rw, /c",
        "scratch": "3MiB",
        "max_processes": "9",
        "cpu": "0.5",
    }


@pytest.mark.parametrize("level", [None, *Level])
def test_nothing_is_wanted_beyond_the_level(level: Level | None) -> None:
    asked = Asked(level=level, network=False, cpu=1.0)
    wanted = {one for one in Mechanism if wants(asked, one, Found())}
    assert wanted <= set(mechanisms_of(level or Level.NAMESPACES))
    assert Mechanism.CPU_CGROUP in wanted
