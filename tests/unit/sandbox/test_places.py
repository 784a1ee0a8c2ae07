"""A place remembers its process, why the previous one ended, and when to try again."""

from pathlib import Path

import pytest

from sandbox.causes import Cause
from sandbox.errors import LoadFailed
from sandbox.places import Branch, Place
from sandbox.spec import FunctionSpec, Runtime

ENDED = Cause("ended", "SIGKILL")


def refusal(place: Place[str]) -> tuple[str, int | None] | None:
    """The code and the time of the next try of what `refuse_early` raises, or None."""
    try:
        place.refuse_early()
    except LoadFailed as error:
        return error.code, error.retry_at_ns
    return None


async def test_only_what_stands_there_leaves_a_place_vacant() -> None:
    place: Place[str] = Place()
    assert (place.made, place.cause) == (None, Cause("new"))
    place.fill("first")
    assert not place.vacate("an older one", ENDED)
    assert (place.made, place.cause, place.vacant.is_set()) == ("first", Cause("new"), False)
    assert place.vacate("first", ENDED)
    assert (place.made, place.cause, place.vacant.is_set()) == (None, ENDED, True)
    assert not place.vacate("first", Cause("unneeded"))
    assert place.cause == ENDED
    place.fill("second")
    assert not place.vacant.is_set()
    assert place.vacate("second")
    assert place.cause == ENDED


async def test_what_cannot_be_made_is_refused_until_its_back_off_ends() -> None:
    place: Place[str] = Place()
    assert refusal(place) is None
    first, meanwhile = LoadFailed("InitFailed", "no"), LoadFailed("InitTimeout", "slow")
    place.failed(first)
    place.failed(meanwhile)  # a concurrent try, which counts as the same failure
    assert place.current is meanwhile
    assert first.retry_at_ns == meanwhile.retry_at_ns
    assert refusal(place) == ("InitTimeout", first.retry_at_ns)
    place.succeeded()
    assert refusal(place) is None


@pytest.mark.parametrize(("healthy_s", "is_refused"), [(60.0, True), (0.0, False)])
async def test_what_ends_twice_right_after_it_was_made_is_a_crash_loop(
    monkeypatch: pytest.MonkeyPatch, healthy_s: float, is_refused: bool
) -> None:
    monkeypatch.setattr("sandbox.backoff.HEALTHY_S", healthy_s)
    place: Place[str] = Place()
    place.fill("first")
    place.note_end()
    assert refusal(place) is None, "once is an accident"
    place.fill("second")
    place.note_end()
    assert (refusal(place) is not None) == is_refused
    assert is_refused == (place.current is not None and place.current.code == "CrashLoop")


async def test_what_all_templates_of_a_version_have_loaded() -> None:
    runtime = Runtime(name="default", python=Path("/python"))
    branch = Branch(FunctionSpec(name="f", version="1", code=Path("/code"), handler="f:handler", runtime=runtime))
    assert branch.files is None, "nothing has loaded"
    branch.note_files(("a.py",))
    branch.note_files(("a.py", "b.py"))
    assert branch.files == {"a.py", "b.py"}
    branch.note_files(None)
    branch.note_files(("c.py",))
    assert branch.files is None, "what one has loaded is unknown"
