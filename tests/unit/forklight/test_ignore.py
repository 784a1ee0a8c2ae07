"""Patterns of `.forklightignore`."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
    with pytest.raises(ValueError, match="line 2 is not a valid pattern: bad character range z-a"):
        ignored_by("a\n[z-a]")


FILES = ["a", "b.log", "d/a", "d/b.log", "d/e/a", "d/e/x.py", "e/d/a", "e/f/[a].py", "!a", "#a"]
FOLDERS = ["d", "d/e", "e", "e/d", "e/f"]
WORDS = st.lists(
    st.sampled_from(["a", "b", "d", "e", "f", ".log", ".py", "*", "?", "[a-e]", "[!a]", "\\", "!", "#"]),
    min_size=1,
    max_size=3,
).map("".join)
PATTERNS = st.builds(
    lambda start, parts, end: start + "/".join(parts) + end,
    st.sampled_from(["", "", "!", "/", "!/"]),
    st.lists(WORDS | st.just("**"), min_size=1, max_size=3),
    st.sampled_from(["", "", "/", "/**"]),
)


def is_left_out(text: str, path: str, *, is_folder: bool) -> bool:
    """As the walk over the folders has it: a folder that is left out is not entered."""
    ignored, parts = ignored_by(text), path.split("/")
    above = ["/".join(parts[:length]) for length in range(1, len(parts))]
    return any(ignored(folder, True) for folder in above) or ignored(path, is_folder)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("repository")
    for name in FOLDERS:
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in FILES:
        (root / name).touch()
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    return root


@pytest.mark.invariant("I35")
@settings(deadline=None)
@given(st.lists(PATTERNS, min_size=1, max_size=4))
def test_git_leaves_out_the_same(repository: Path, patterns: list[str]) -> None:
    text = "\n".join(patterns) + "\n"
    try:
        ignored_by(text)
    except ValueError:  # git has such a line match nothing
        return
    (repository / ".gitignore").write_text(text)
    command = ["git", "check-ignore", "--no-index", "--stdin", "-z"]
    names = "".join(f"{name}\0" for name in (*FILES, *FOLDERS))
    asked = subprocess.run(command, cwd=repository, input=names, capture_output=True, text=True, check=False)
    assert asked.returncode in (0, 1), asked.stderr
    ours = {name for name in FILES if is_left_out(text, name, is_folder=False)}
    ours |= {name for name in FOLDERS if is_left_out(text, name, is_folder=True)}
    assert ours == set(asked.stdout.split("\0")) - {""}
