"""Releases: whatever steps are taken in which order, what serves is kept, numbers count up, and the rest is bounded."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forklight.state import releases
from forklight.state.releases import NONE, Application, Canary, ReleaseError, read_releases, write_releases

AT = datetime(2026, 1, 2, tzinfo=UTC)
PACKAGES = st.sampled_from([letter * 64 for letter in "abc"])
NUMBERS = st.integers(1, 12)
STEPS = st.one_of(
    st.tuples(st.just("deploy"), PACKAGES),
    st.tuples(st.just("canary"), PACKAGES, st.floats(-1, 101)),
    st.tuples(st.just("promote")),
    st.tuples(st.just("abort")),
    st.tuples(st.just("rollback"), st.none() | NUMBERS),
    st.tuples(st.just("alias"), st.sampled_from(["prod", "live", "7", "B"]), st.none() | NUMBERS),
    st.tuples(st.just("remove")),
)


def stepped(app: Application, step: tuple[Any, ...], keep: int) -> Application:
    match step:
        case ("deploy", package):
            app = releases.deployed(app, package, at=AT, by="me", size_bytes=1)
        case ("canary", package, percent):
            app = releases.begun_canary(app, package, percent, at=AT, by="me", size_bytes=1)
        case ("promote",):
            app = releases.promoted(app)
        case ("abort",):
            app = releases.aborted(app)
        case ("rollback", number):
            app = releases.rolled_back(app, number)
        case ("alias", name, number):
            app = releases.aliased(app, name, number)
        case _:
            app = releases.removed(app)
    return releases.pruned(app, keep)


def app_of(*packages: str) -> Application:
    app = NONE
    for package in packages:
        app = releases.deployed(app, package * 64, at=AT, by="me", size_bytes=1)
    return app


@pytest.mark.invariant("I49")
@settings(max_examples=100)
@given(st.lists(STEPS, max_size=25), st.integers(1, 4))
def test_any_steps_keep_what_serves_and_never_give_a_number_twice(steps: list[tuple[Any, ...]], keep: int) -> None:
    app, given_numbers = NONE, set[int]()
    for step in steps:
        before = app
        try:
            app = stepped(app, step, keep)
        except ReleaseError:
            continue
        numbers = {one.number for one in app.releases}
        new = numbers - {one.number for one in before.releases}
        assert not new & given_numbers
        assert len(new) <= 1
        given_numbers |= new
        named = {app.live, app.before, app.canary and app.canary.number, *app.aliases.values()} - {None}
        assert named <= numbers
        assert set(app.history) <= numbers
        assert len(numbers - named) <= keep
        assert (app.live is None) == (not numbers)
        assert app.live not in app.history
        assert len(set(app.history)) == len(app.history)
        assert [one.number for one in app.releases] == sorted(numbers)
        assert app.last == max(given_numbers, default=0)


def test_each_rollback_goes_further_back_and_a_version_that_was_left_can_be_named() -> None:
    app = app_of("a", "b", "c")
    assert (app.live, app.before) == (3, 2)
    app = releases.rolled_back(app)
    assert (app.live, app.before) == (2, 1)
    app = releases.rolled_back(app)
    assert (app.live, app.before) == (1, None)
    with pytest.raises(ReleaseError, match="no version was live before this one"):
        releases.rolled_back(app)
    app = releases.rolled_back(app, 3)
    assert (app.live, app.before) == (3, 1)
    app = releases.deployed(app, "d" * 64, at=AT, by="me", size_bytes=1)
    assert (app.live, app.before) == (4, 3)


def test_a_canary_changes_its_share_and_ends_by_being_promoted_aborted_or_replaced() -> None:
    app = releases.begun_canary(app_of("a"), "b" * 64, 10, at=AT, by="me", size_bytes=1)
    app = releases.begun_canary(app, "b" * 64, 50, at=AT, by="me", size_bytes=1)
    assert app.canary == Canary(number=2, percent=50)
    assert app.live == 1
    assert releases.promoted(app).live == 2
    assert releases.promoted(app).before == 1
    ended = releases.aborted(app, "it fails")
    assert ended.canary is None
    assert ended.live == 1
    assert ended.release(2).aborted == "it fails"
    with pytest.raises(ReleaseError, match="version 2 serves 50 % as a canary: abort ends it"):
        releases.rolled_back(app)
    assert releases.rolled_back(app, 1).canary is None
    assert releases.rolled_back(ended, 2).release(2).aborted == ""
    replaced = releases.begun_canary(app, "c" * 64, 5, at=AT, by="me", size_bytes=1)
    assert replaced.canary == Canary(number=3, percent=5)


def test_what_cannot_be_done_says_why() -> None:
    app = releases.aliased(app_of("a", "b"), "prod", 1)
    for match, step in (
        ("there is no version 9: those kept are 1, 2", lambda: app.named("9")),
        ("'dev' is neither a version nor an alias: there are prod", lambda: app.named("dev")),
        ("there is no alias 'dev': there are prod", lambda: releases.aliased(app, "dev", None)),
        ("'live' cannot be an alias: .*mean something else", lambda: releases.aliased(app, "live", 1)),
        ("'7' cannot be an alias: a small letter", lambda: releases.aliased(app, "7", 1)),
        ("no version serves as a canary", lambda: releases.promoted(app)),
        (
            "there is no live version beside which",
            lambda: releases.begun_canary(NONE, "a" * 64, 10, at=AT, by="", size_bytes=1),
        ),
        ("there is no such application", lambda: releases.removed(NONE)),
    ):
        with pytest.raises(ReleaseError, match=match):
            step()
    assert (app.named("2"), app.named("prod")) == (2, 1)


def test_the_file_keeps_everything_and_refuses_what_makes_no_sense(tmp_path: Path) -> None:
    app = releases.begun_canary(app_of("a", "b"), "c" * 64, 10, at=AT, by="ci", size_bytes=7)
    apps = {"shop": releases.aliased(app, "prod", 1), "gone": releases.removed(app)}
    assert read_releases(tmp_path) == {}
    write_releases(tmp_path, apps)
    assert read_releases(tmp_path) == apps
    assert (tmp_path / "releases.json").stat().st_mode & 0o777 == 0o600
    assert releases.packages(apps) == {letter * 64 for letter in "abc"}
    text = (tmp_path / "releases.json").read_text()
    wrong = {
        "Input data was truncated": text[:-9],
        "shop names version 9, which is not there": text.replace('"live": 2', '"live": 9'),
        "`str` matching regex": text.replace("c" * 64, "../c"),
        "`float` < 100": text.replace('"percent": 10', '"percent": 500'),
        "version 2 of shop is live, and a canary": text.replace(
            '"number": 3,\n      "percent"', '"number": 2, "percent"'
        ),
        "the versions of shop do not count up to the last one, 2": text.replace('},\n    "last": 3', '}, "last": 2'),
        "shop has versions, and none of them is live": text.replace('"live": 2,', ""),
        "'../shop' is not the name": text.replace('"shop"', '"../shop"'),
        "unknown field `zone`": text.replace('"live": 2', '"live": 2, "zone": 1'),
    }
    for why, damaged in wrong.items():
        assert damaged != text
        (tmp_path / "releases.json").write_text(damaged)
        with pytest.raises(ReleaseError) as refused:
            read_releases(tmp_path)
        assert "releases.json cannot be used: " in str(refused.value)
        assert why in str(refused.value)
        assert str(refused.value).endswith("restore it from a backup, or start the later Forklight that wrote it")
