"""Runs of the tests at the same time share them: none runs twice as one user, and none is left out."""

from pathlib import Path

import pytest

from tests.kit.sharing import claimed, is_shared

pytestmark = pytest.mark.any_user


def test_a_module_that_one_run_has_claimed_is_not_run_by_another_of_its_user(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = request.session.items
    assert is_shared(next(item for item in items if item.name == request.node.name))
    assert list(claimed(items, tmp_path)) == items
    assert list(claimed(items, tmp_path)) == []
    monkeypatch.setattr("os.geteuid", lambda: 12345)
    assert list(claimed(items, tmp_path)) == [item for item in items if not is_shared(item)]


def test_a_module_is_claimed_when_its_turn_comes(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    items = [item for item in request.session.items if item.path.name == Path(__file__).name]
    first, second = claimed(items, tmp_path), claimed(items, tmp_path)
    assert next(first) is items[0]
    assert list(second) == []
    assert list(first) == items[1:]
