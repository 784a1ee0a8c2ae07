"""Environments of functions: what goes in, and that secrets never show."""

from pathlib import Path

import pytest

from forklight.config.configuration import Config, load
from forklight.config.problem import ConfigError

HIDDEN = "hunter2"


def _load(folder: Path, text: str, environ: dict[str, str] | None = None) -> Config:
    (folder / "forklight.toml").write_text(text)
    return load(folder, environ or {})


def _problems(folder: Path, text: str, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        _load(folder, text, environ)
    return str(caught.value).replace(f"{folder}/", "").splitlines()


def test_env_stands_over_the_env_file_and_secrets_are_apart(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=file\nB=file\n")
    (tmp_path / "key").write_bytes(b"hunter2\r\n\n")
    text = """
[defaults]
env = { B = "default", C = "default" }
[functions.f]
handler = "f:h"
env_file = ".env"
env = { C = "${X}" }
[functions.f.secrets]
K = { file = "key" }
L = { env = "X" }
"""
    function = _load(tmp_path, text, {"X": "x"}).functions["f"]
    assert function.env == {"A": "file", "B": "default", "C": "x"}
    assert function.secrets == {"K": "hunter2\r\n", "L": "x"}


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"abc", "abc"),
        (b"abc\n", "abc"),
        (b"abc\r\n", "abc"),
        (b"abc\n\n", "abc\n"),
        (b"abc\r", "abc\r"),
        (b"\xef\xbb\xbfabc", "abc"),
        (b" a\r\nb \r\n", " a\r\nb "),
        (b"", ""),
    ],
)
def test_a_secret_is_the_file_without_one_line_end_and_byte_order_mark(
    tmp_path: Path, content: bytes, value: str
) -> None:
    (tmp_path / "key").write_bytes(content)
    text = '[functions.f]\nhandler = "f:h"\nsecrets = { K = { file = "key" } }'
    assert _load(tmp_path, text).functions["f"].secrets == {"K": value}


def test_a_file_of_variables_that_is_not_what_it_should_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "utf16").write_bytes("A=hunter2".encode("utf-16"))
    (tmp_path / "latin1").write_bytes(b"A=hunter2\xe9")
    (tmp_path / "big").write_bytes(b"#" * (1024 * 1024 + 1))
    (tmp_path / "folder").mkdir()
    text = '[functions.%s]\nhandler = "f:h"\nenv_file = "%s"\nsecrets = { K = { file = "%s" } }\n'
    names = ("utf16", "latin1", "big", "folder", "/dev/zero")
    toml = "".join(text % (f"f{number}", name, name) for number, name in enumerate(names))
    causes = [
        "utf16 is UTF-16: save it as UTF-8",
        "latin1 is not valid UTF-8",
        "big is larger than 1 MiB: let the function read it itself",
        "folder cannot be read: Is a directory",
        "/dev/zero is larger than 1 MiB: let the function read it itself",
    ]
    assert _problems(tmp_path, toml) == [
        f"forklight.toml:{4 * number + line} functions.f{number}.{key}: {cause}"
        for number, cause in enumerate(causes)
        for line, key in ((3, "env_file"), (4, "secrets.K"))
    ]


def test_an_env_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "env").write_bytes(b"\xef\xbb\xbfA=1\r\n")
    assert _load(tmp_path, '[functions.f]\nhandler = "f:h"\nenv_file = "env"').functions["f"].env == {"A": "1"}


def test_no_repr_shows_a_secret(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(HIDDEN)
    text = '[functions.f]\nhandler = "f:h"\nsecrets = { A = { file = "key" }, B = { env = "X" } }'
    config = _load(tmp_path, text, {"X": HIDDEN})
    assert config.functions["f"].secrets == {"A": HIDDEN, "B": HIDDEN}
    assert "Secrets(A, B)" in repr(config)
    assert HIDDEN not in repr(config)


def test_no_problem_shows_a_secret(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(HIDDEN.encode() + b"\xff")
    (tmp_path / "zero").write_bytes(HIDDEN.encode() + b"\0")
    text = """
[functions.f]
handler = "f:h"
env = { D = "" }
[functions.f.secrets]
A = "hunter2"
B = { file = "key" }
C = { file = "zero" }
D = { env = "X" }
"E F" = { env = "X" }
"""
    assert _problems(tmp_path, text, {"X": HIDDEN}) == [
        (
            "forklight.toml:6 functions.f.secrets.A: must be a table, not a string: "
            'write { file = "secrets/key" } or { env = "API_KEY" }'
        ),
        "forklight.toml:7 functions.f.secrets.B: key is not valid UTF-8",
        "forklight.toml:8 functions.f.secrets.C: holds a zero byte, which no environment can",
        "forklight.toml:9 functions.f.secrets.D: is also in env: keep one of them",
        (
            'forklight.toml:10 functions.f.secrets."E F": is not a variable name: '
            "letters, digits and _, no digit first: write E_F"
        ),
    ]


@pytest.mark.parametrize(
    ("zone", "told"),
    [
        ("Asia/Tokyo", ""),
        (":Europe/Berlin", ""),
        ("EST5EDT", ""),
        ("<-03>3", ""),
        ("/etc/localtime", ""),
        ("", ""),
        ("Europe/Berln", "there is no time zone 'Europe/Berln' (did you mean 'Europe/Berlin'?)"),
        ("Tokyo", "there is no time zone 'Tokyo'"),
        ("../etc/passwd", "there is no time zone '../etc/passwd'"),
    ],
)
def test_a_time_zone_that_is_none_is_a_warning(tmp_path: Path, zone: str, told: str) -> None:
    text = f'[functions.f]\nhandler = "f:h"\nenv = {{ TZ = "{zone}" }}\n'
    warnings = "".join(map(str, _load(tmp_path, text).warnings))
    assert told in warnings
    assert bool(warnings) == bool(told)


def test_what_acts_only_at_exec_is_a_warning_where_it_is_written(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("LD_PRELOAD=x\n")
    text = """
[functions.f]
handler = "f:h"
env_file = ".env"
env = { PYTHONHASHSEED = "0", PYTHONPATH = "x", PYTHONUNBUFFERED = "1" }
[runtimes.default]
env = { PYTHONHASHSEED = "0", LD_LIBRARY_PATH = "/x" }
"""
    effect = "acts only when an interpreter starts, and an instance is forked: it will have no effect"
    warnings = [str(warning).replace(f"{tmp_path}/", "") for warning in _load(tmp_path, text).warnings]
    assert warnings == [
        f"forklight.toml:4 functions.f.env_file: LD_PRELOAD {effect}",
        f"forklight.toml:5 functions.f.env.PYTHONHASHSEED: PYTHONHASHSEED {effect}",
        "forklight.toml:7 runtimes.default.env.PYTHONHASHSEED: has no effect: interpreters are started with -I",
    ]
