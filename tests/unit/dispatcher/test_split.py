"""Which version an event runs on: shares are met, choices are stable, and a larger share keeps what it had."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.split import Split, base_name, number_of, point, variant_name

shares = st.floats(0, 1)
keys = st.text(max_size=50)
names = st.integers(1, 10_000).map(lambda number: f"ship@{number}")


@pytest.mark.invariant("I52")
@given(share=shares, first=st.integers(0, 2**100))
def test_a_share_is_met(share: float, first: int) -> None:
    """Within six standard deviations of 2000 draws, for ids that are random as well as for those that count up."""
    split, margin = Split("ship@8", share), 6 * (2000 * share * (1 - share)) ** 0.5 + 1
    for ids in ((str(UUID(int=first + n)) for n in range(2000)), (f"order-{first + n}" for n in range(2000))):
        assert abs(sum(map(split.takes, ids)) - 2000 * share) <= margin


@pytest.mark.invariant("I52")
@given(name=names, key=keys, shares=st.tuples(shares, shares))
def test_a_choice_is_stable_and_a_larger_share_only_adds(name: str, key: str, shares: tuple[float, float]) -> None:
    low, high = sorted(shares)
    assert Split(name, low).takes(key) == Split(name, low).takes(key)
    assert not Split(name, low).takes(key) or Split(name, high).takes(key)
    assert 0 <= point(name, key) < 1
    assert Split(name, 1).takes(key)
    assert not Split(name, 0).takes(key)


def test_functions_of_a_release_agree_on_a_key_and_releases_do_not() -> None:
    keys = [f"customer-{n}" for n in range(200)]
    assert [point("ship@8", key) for key in keys] == [point("bill@8", key) for key in keys]
    assert {key for key in keys if Split("ship@8", 0.1).takes(key)} != {
        key for key in keys if Split("ship@9", 0.1).takes(key)
    }


@pytest.mark.invariant("I35")
@given(number=st.integers(1, 10**9))
def test_the_name_of_a_variant_has_its_function_and_its_number(number: int) -> None:
    name = variant_name("ship-orders", number)
    assert (base_name(name), number_of(name)) == ("ship-orders", number)
    assert (base_name("ship-orders"), number_of("ship-orders")) == ("ship-orders", 0)


@pytest.mark.parametrize("name", ["ship@", "ship@stable", "ship@07", "ship@-1", "ship@8@9", "ship@٣"])
def test_only_a_number_makes_the_name_of_a_variant(name: str) -> None:
    with pytest.raises(ValueError, match="does not name a variant"):
        number_of(name)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_is_from_0_to_1(share: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        Split("ship@8", share)
