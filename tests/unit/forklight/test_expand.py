"""References to environment variables."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forklight.config.expand import expand

ENVIRON = {"A": "1", "EMPTY": "", "NESTED": "${A}"}


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("${A}", "1"),
        ("x${A}y${A}z", "x1y1z"),
        ("${EMPTY}", ""),
        ("${EMPTY:-d}", "d"),
        ("${NONE:-d e}", "d e"),
        ("${NONE:-}", ""),
        ("${NESTED}", "${A}"),
        ("$${A} $A $", "${A} $A $"),
    ],
)
def test_expand(text: str, expanded: str) -> None:
    assert expand(text, ENVIRON) == expanded


@pytest.mark.invariant("I35")
@given(st.text().filter(lambda text: "${" not in text))
def test_a_text_without_references_stays_as_it_is(text: str) -> None:
    assert expand(text, ENVIRON) == text


def test_every_missing_variable_is_named_once() -> None:
    with pytest.raises(ValueError, match=r"not set in the environment: B, C \("):
        expand("${B} ${A} ${C} ${B}", ENVIRON)


@pytest.mark.parametrize("text", ["${", "${A", "${}", "${1A}", "${A B}", "${A-b}", "${:-x}"])
def test_a_bad_reference(text: str) -> None:
    with pytest.raises(ValueError, match="has a bad reference"):
        expand(text, ENVIRON)
