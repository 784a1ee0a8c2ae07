"""Which files are code, and which changes concern it."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forklight.code.files import collect, collect_all, own_logs
from forklight.code.selection import NODE_MODULES, CodeError, select
from forklight.code.tool_files import NEVER, PATTERNS
from forklight.state.directory import open_state

TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# made by a tool\n"
TOOLS_FILES = (
    *(".coverage", ".coverage.host.123", "htmlcov/index.html", ".pytest_cache/v/nodeids", ".mypy_cache/3.12/a.json"),
    *(".ruff_cache/0.1/x", ".hypothesis/x", ".tox/log", ".nox/x", ".ipynb_checkpoints/a.py", "node_modules/x/a.py"),
    *(".idea/workspace.xml", ".vscode/settings.json", ".history/a.py", "pkg/#a.py#", "a.py~", ".a.py.swp", ".a.py.swx"),
    *("4913", ".a.py.kate-swp", "a.py___jb_tmp___", "a.py___jb_old___", "flycheck_a.py", "a_flymake.py"),
    *(".goutputstream-X1Y2Z3", ".DS_Store", "._a.py", "__MACOSX/a.py", ".nfs0001", "lost+found/x", ".~lock.a.ods#"),
)
NEVER_CODE = (".git/config", "sub/.git", ".hg/x", "pkg/__pycache__/b.pyc", "env/pyvenv.cfg", "conda/conda-meta/x")
CODE = (
    *(".gitignore", ".hidden", ".well-known/security.txt", "a.py", "a.pyc", "a.swf", "cache/x", "idea/x"),
    *("movie.sw", "numbers/4912", "numbers/4913", "zips/4913/x", "pkg/a#b.txt", "pkg/a.sw1", "tags"),
)


def _write(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)


def _names(code: Path) -> list[str]:
    return [file.name for file in collect(code)]


def test_files_of_tools_are_no_code_unless_they_are_taken_back_in(tmp_path: Path) -> None:
    _write(tmp_path, *TOOLS_FILES, *NEVER_CODE, *CODE)
    assert _names(tmp_path) == sorted(CODE)

    (tmp_path / ".forklightignore").write_text("!.coverage\n!*e.py\n!a.py\n!node_modules\n.forklightignore\n")
    assert set(_names(tmp_path)) - set(CODE) == {".coverage", "node_modules/x/a.py", "a_flymake.py"}
    (tmp_path / ".forklightignore").write_text("!*\n!*/\n.forklightignore\n")
    assert set(_names(tmp_path)) == {*TOOLS_FILES, *CODE}


def test_a_list_of_what_is_wanted_takes_no_lock_of_emacs_in(tmp_path: Path) -> None:
    _write(tmp_path, "a.py", "data.txt")
    (tmp_path / ".#a.py").symlink_to("user@host.1234:1700000000")
    assert _names(tmp_path) == ["a.py", "data.txt"]
    assert _names(tmp_path / "a.py") == ["a.py"]
    (tmp_path / ".forklightignore").write_text("*\n!*.py\n")
    assert _names(tmp_path) == ["a.py"]


def test_a_folder_that_a_tool_marked_as_a_cache_is_told_and_can_be_taken_back_in(tmp_path: Path) -> None:
    _write(tmp_path, "a.py", "target/x", "models/hub/x", "plain/CACHEDIR.TAG")
    (tmp_path / "target/CACHEDIR.TAG").write_text(TAG)
    (tmp_path / "models/CACHEDIR.TAG").write_text(TAG)
    assert _names(tmp_path) == ["a.py", "plain/CACHEDIR.TAG"]
    assert collect_all(tmp_path)[1].caches == ("models/", "target/")
    (tmp_path / ".forklightignore").write_text("!models/\ntarget/\n")
    assert _names(tmp_path)[1:] == ["a.py", "models/CACHEDIR.TAG", "models/hub/x", "plain/CACHEDIR.TAG"]
    assert collect_all(tmp_path)[1].caches == ()


def test_a_pipe_is_not_opened_to_see_what_it_is(tmp_path: Path) -> None:
    _write(tmp_path, "a.py", "data/x")
    os.mkfifo(tmp_path / "data/CACHEDIR.TAG")
    os.mkfifo(tmp_path / "key.pem")
    os.mkfifo(tmp_path / "pipe")
    assert _names(tmp_path) == ["a.py", "data/x"]


def test_a_state_directory_is_no_code_whichever_server_it_is_of(tmp_path: Path) -> None:
    with open_state(tmp_path / "var", None):
        _write(tmp_path, "a.py", "var/data/shop.db", "key/key", "key/versions")
    assert _names(tmp_path) == ["a.py", "key/key", "key/versions"]


def test_an_environment_may_be_a_link_to_anywhere(tmp_path: Path) -> None:
    code = tmp_path / "code"
    _write(tmp_path, "code/a.py", "elsewhere/pyvenv.cfg")
    (code / "env").symlink_to(tmp_path / "elsewhere")
    assert _names(code) == ["a.py"]


def test_no_pattern_is_covered_by_what_is_never_code() -> None:
    assert not set(NEVER) & set(PATTERNS)
    assert len(PATTERNS) == len(set(PATTERNS))


def test_a_circle_of_links_is_named(tmp_path: Path) -> None:
    _write(tmp_path, "a.py")
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    with pytest.raises(CodeError, match="/one cannot be read: Too many levels of symbolic links: repair it, or list"):
        collect(tmp_path)
    (tmp_path / ".forklightignore").write_text("one\ntwo\n")
    assert _names(tmp_path) == [".forklightignore", "a.py"]


@pytest.mark.any_user
@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
@pytest.mark.parametrize(
    ("closed", "mode", "named"),
    [("data", 0, "data"), ("data", 0o600, "data"), ("data", 0o300, "data"), ("data/x", 0, "data/x"), (".", 0, ".")],
)
def test_what_cannot_be_read_is_named_with_a_remedy(tmp_path: Path, closed: str, mode: int, named: str) -> None:
    code = tmp_path / "code"
    _write(code, "a.py", "data/x", "data/inner/y")
    (code / closed).chmod(mode)
    try:
        with pytest.raises(CodeError) as raised:
            collect(code)
        advice = "let the user of the server read it, or list it in .forklightignore"
        assert str(raised.value) == f"{code / named} cannot be read: Permission denied: {advice}"
        if closed != ".":
            (code / ".forklightignore").write_text(f"{closed}\n")
            assert "a.py" in _names(code)
    finally:
        (code / closed).chmod(0o700)


@pytest.mark.any_user
@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
@pytest.mark.parametrize("private", ["private", "code/private"])
def test_a_log_in_a_folder_that_cannot_be_entered_is_not_looked_at(tmp_path: Path, private: str) -> None:
    folder = tmp_path / private
    _write(tmp_path, "code/a.py", f"{private}/log")
    saved = os.dup(1)
    log = os.open(folder / "log", os.O_WRONLY)
    try:
        os.dup2(log, 1)
        folder.chmod(0)
        assert folder / "log" in own_logs()
        assert _names(tmp_path / "code") == ["a.py"]
    finally:
        os.dup2(saved, 1)
        os.close(saved)
        os.close(log)
        folder.chmod(0o700)


PARTS = st.sampled_from(["a", "a.py", "b", ".env", ".git", "a.py~", "#a#", ".idea", "k.pem", "venv", "c", "x.log", "p"])
PATHS = st.lists(PARTS, min_size=1, max_size=3).map("/".join)
LINES = st.lists(st.sampled_from(["*.log", "!*~", "b/", "!.env", "/a/*", "!a/b", "**/c", "!*", "*"]), max_size=3)


@pytest.mark.invariant("I38")
@given(paths=st.sets(PATHS, max_size=12), lines=LINES, is_single=st.booleans())
def test_a_change_concerns_the_code_exactly_if_the_file_is_in_it(
    paths: set[str], lines: list[str], is_single: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        for path in sorted(paths):
            if not any(parent.is_file() for parent in (root / path).parents) and not (root / path).exists():
                _write(root, path)
        for name in ("venv", "p"):
            if (root / name).is_dir():
                (root / name / ("pyvenv.cfg" if name == "venv" else "__init__.py")).touch()
        (root / "one.py").touch()
        (root / ".forklightignore").write_text("\n".join(lines))
        code = root / "one.py" if is_single else root
        found = {root / file.name for file in collect(code)}
        selection = select(code)
        folders, files = selection.places()
        assert files == found
        for file in root.rglob("*"):
            if file.is_file() and file.parent in folders and file.name != ".forklightignore":
                assert selection.concerns(file) == (file in found)
        assert {file.parent for file in found} <= folders


def test_libraries_of_node_js_are_code_where_functions_import_them(tmp_path: Path) -> None:
    for name in ("index.js", "node_modules/a/index.js", "node_modules/a/.cache/x.js", "sub/node_modules/b/b.key"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("-----BEGIN PRIVATE KEY-----\n")

    def names(*apart: Path) -> set[str]:
        root = tmp_path.resolve()
        return {str(path.relative_to(root)) for path in select(tmp_path, frozenset(apart)).places()[1]}

    every = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert names() == {"index.js"}
    assert names(NODE_MODULES) == every
    (tmp_path / ".forklightignore").write_text("node_modules/a/.cache\n")
    assert names(NODE_MODULES) == every - {"node_modules/a/.cache/x.js"} | {".forklightignore"}
