"""Names and handlers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forklight.config.functions import Handler, ModuleName, Name


@pytest.mark.invariant("I35")
@given(st.from_regex(r"[a-z][a-z0-9_-]{0,62}", fullmatch=True))
def test_a_name(text: str) -> None:
    assert Name.parse(text) == text


@pytest.mark.parametrize("text", ["", "A", "1a", "-a", "a b", "a.b", "a/b", "ä", "a" * 64, "a\n"])
def test_no_name(text: str) -> None:
    with pytest.raises(ValueError, match="is not a valid name: a small letter"):
        Name.parse(text)


@pytest.mark.parametrize(("text", "module"), [("a:b", "a"), ("a.b:c.d", "a.b"), ("_é:f", "_é")])
def test_a_handler(text: str, module: str) -> None:
    assert Handler.parse(text).module == module


@pytest.mark.parametrize(
    ("text", "likely"),
    [
        ("greet", "greet:handler"),
        ("greet.handler", "greet:handler"),
        ("a.b.c", "a.b:c"),
        ("pkg/greet.py", "pkg.greet:handler"),
        ("greet:", "greet:handler"),
        ("a b", "greet:handler"),
        ("a:b:c", "greet:handler"),
        (".a:b", "greet:handler"),
        ("", "greet:handler"),
    ],
)
def test_no_handler_says_what_was_likely_meant(text: str, likely: str) -> None:
    with pytest.raises(ValueError, match=f'is not of the form module:attribute: write "{likely}"$'):
        Handler.parse(text)


@pytest.mark.parametrize("text", ["queue:handler", "email.mine:handler"])
def test_an_entry_module_named_like_the_standard_librarys_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is a module of the standard library; rename the file"):
        Handler.parse(text)


def test_module_names() -> None:
    assert ModuleName.parse("PIL.Image") == "PIL.Image"
    with pytest.raises(ValueError, match="is not a module"):
        ModuleName.parse("PIL-Image")
