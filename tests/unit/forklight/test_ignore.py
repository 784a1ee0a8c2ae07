"""Patterns of `.forklightignore`."""

import pytest

from forklight.code.ignore import ignored_by


@pytest.mark.parametrize(
    ("text", "path", "is_folder", "is_ignored"),
    [
        ("*.log", "a/b.log", False, True),
        ("*.log", "a.log/b", False, False),
        ("data", "x/data", True, True),
        ("data/", "data", False, False),
        ("data/", "x/data", True, True),
        ("/data", "x/data", True, False),
        ("/data", "data", True, True),
        ("a/*.py", "a/b.py", False, True),
        ("a/*.py", "x/a/b.py", False, False),
        ("a/*.py", "a/b/c.py", False, False),
        ("**/a.py", "a.py", False, True),
        ("**/a.py", "x/y/a.py", False, True),
        ("a/**/b", "a/b", False, True),
        ("a/**/b", "a/x/y/b", False, True),
        ("a/**", "a/x", False, True),
        ("a/**", "a", True, False),
        ("/**", "a/x", False, True),
        ("?.py", "a.py", False, True),
        ("?.py", "ab.py", False, False),
        ("[a-c].py", "b.py", False, True),
        ("[!a-c].py", "b.py", False, False),
        ("[!a-c].py", "d.py", False, True),
        ("x[^].py", "x^.py", False, True),
        ("[^a-c].py", "b.py", False, False),
        ("[]x].py", "].py", False, True),
        ("[a&&b].py", "&.py", False, True),
        ("x[.py", "x[.py", False, True),
        ("*.log\n!keep.log", "keep.log", False, False),
        ("!keep.log\n*.log", "keep.log", False, True),
        ("# a\n\n  \n", "# a", False, False),
        (r"\#a", "#a", False, True),
        (r"\!a", "!a", False, True),
        ("a.b", "axb", False, False),
    ],
)
def test_patterns(text: str, path: str, is_folder: bool, is_ignored: bool) -> None:
    assert ignored_by(text)(path, is_folder) is is_ignored


def test_a_pattern_that_is_none() -> None:
    with pytest.raises(ValueError, match="line 2 is no pattern: bad character range z-a"):
        ignored_by("a\n[z-a]")
