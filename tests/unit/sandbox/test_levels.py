"""What a function gets of what it asks for, on every machine there may be."""

from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sandbox.containment import Endpoint, Level, Mechanism, Mount
from sandbox.levels import (
    BOX,
    REQUIRED,
    Asked,
    CannotBeHad,
    Found,
    Missing,
    Refused,
    best_level,
    mechanisms_of,
    resolve,
)

DATABASE = (Endpoint("db", 5432),)
THERE, ELSEWHERE = Mount(Path("/srv"), Path("/srv")), Mount(Path("/srv"), Path("/data"), writable=True)
WHY = Missing("bubblewrap is not installed", "apt install bubblewrap")


def without(*mechanisms: Mechanism) -> Found:
    return Found(dict.fromkeys(mechanisms, WHY))


machines = st.builds(Found, st.dictionaries(st.sampled_from(Mechanism), st.just(WHY)))
wishes = st.builds(
    Asked,
    level=st.none() | st.sampled_from(Level),
    mounts=st.sampled_from([(), (THERE,), (ELSEWHERE, THERE)]),
    network=st.sampled_from([True, False, DATABASE]),
    scratch_bytes=st.none() | st.just(4096),
    max_processes=st.none() | st.just(9),
    cpu=st.none() | st.just(0.5),
    loopback=st.booleans(),
)


def refused(asked: Asked, found: Found) -> tuple[Refused, ...]:
    try:
        resolve(asked, found)
    except CannotBeHad as error:
        return error.refused
    return ()


@pytest.mark.invariant("I45")
@given(asked=wishes, found=machines)
def test_only_what_is_asked_for_by_name_is_refused_and_each_time_with_the_reason(asked: Asked, found: Found) -> None:
    by_name = {
        "isolation": asked.level is not None,
        "network": asked.network is not True,
        "scratch": asked.scratch_bytes is not None,
        "max_processes": asked.max_processes is not None,
        "cpu": asked.cpu is not None,
        "mounts": ELSEWHERE in asked.mounts,
    }
    for one in refused(asked, found):
        assert str(WHY) in one.why or f'isolation = "{asked.level}"' in one.why
        assert by_name[one.key]


@pytest.mark.invariant("I45")
@given(asked=wishes, found=machines)
def test_what_is_not_refused_is_had(asked: Asked, found: Found) -> None:
    assume(not refused(asked, found))
    had = resolve(asked, found)
    has = set(mechanisms_of(had.level)) - had.without
    assert found.has(*has)
    assert had.without == found.missing.keys() & set(mechanisms_of(had.level))
    assert (had.network, had.cpu, set(had.mounts)) == (asked.network, asked.cpu, set(asked.mounts))
    if asked.level is not None:
        assert had.level == asked.level
        assert not had.without & REQUIRED[asked.level]
    if asked.network is not True and asked.loopback:
        assert Mechanism.NETWORK_NAMESPACE in has
    if asked.network is False:
        assert has & {Mechanism.NETWORK_NAMESPACE, Mechanism.SYSTEM_CALL_FILTER}
    if asked.network == DATABASE:
        assert has & {Mechanism.NETWORK_NAMESPACE, Mechanism.TCP_RULES}
    assert asked.cpu is None or Mechanism.CPU_CGROUP in has
    if asked.scratch_bytes or ELSEWHERE in asked.mounts:
        assert had.level == Level.NAMESPACES


@pytest.mark.invariant("I45")
@given(found=machines)
def test_best_is_never_refused_and_never_lower_than_a_level_by_name(found: Found) -> None:
    best = resolve(Asked(), found).level
    assert best == best_level(found)
    by_name = [level for level in Level if not refused(Asked(level=level), found)]
    assert all(list(Level).index(level) <= list(Level).index(best) for level in by_name)


def test_best_goes_down_one_mechanism_at_a_time() -> None:
    unfiltered = resolve(Asked(), without(Mechanism.SYSTEM_CALL_FILTER))
    assert (unfiltered.level, unfiltered.without) == (Level.NAMESPACES, frozenset({Mechanism.SYSTEM_CALL_FILTER}))
    assert resolve(Asked(), without(Mechanism.NETWORK_NAMESPACE)).level == Level.NAMESPACES
    assert resolve(Asked(), without(Mechanism.USER_NAMESPACE)).level == Level.FILTERS
    assert resolve(Asked(), without(Mechanism.USER_NAMESPACE, Mechanism.FILE_RULES)).level == Level.FILTERS
    none = without(Mechanism.USER_NAMESPACE, Mechanism.FILE_RULES, Mechanism.SYSTEM_CALL_FILTER)
    assert resolve(Asked(), none).level == Level.LIMITS


def test_a_refusal_says_each_cause_once_and_what_to_do() -> None:
    found = without(*BOX)
    cause = "bubblewrap is not installed: apt install bubblewrap"
    assert refused(Asked(level=Level.NAMESPACES, cpu=1.0), found) == (
        Refused("isolation", f'"namespaces" cannot be had: {cause}; or write "best"'),
    )


def test_outer_mounts_come_before_those_within_them() -> None:
    inner = Mount(Path("/srv/spool"), Path("/srv/spool"), writable=True)
    assert resolve(Asked(mounts=(inner, THERE)), Found()).mounts == (THERE, inner)
