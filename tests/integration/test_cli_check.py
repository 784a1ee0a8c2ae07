"""The command line as a process: what it prints, and its exit status. Every message a user may see is pinned here."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
IS_ROOT = os.geteuid() == 0

DURATION = 'write a number and a unit (ms, s, m, h, d), such as "500ms", "10s" or "1h30m"'
SIZE = 'write a number and a unit (B, KB, MB, GB or KiB, MiB, GiB), such as "512MiB" or "10MB"'
NAME = "is not a valid name: a small letter, then up to 62 small letters, digits, _ and -: write"
RENAME = (
    "cannot be a function's file: rename it, in small letters, digits and _, unlike any module of the standard library"
)
NAMEABLE = "name a directory with a forklight.toml, a .toml file or a .py file"
BESIDE = "; leave it out if the modules are beside this file"
TABLE = 'write handler = "greet:handler" below [functions.greet]'
SECRET = 'write { file = "secrets/key" } or { env = "API_KEY" }'
OK = '[functions.f]\nhandler = "f:handler"\n'


ENVIRON = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}


def _run(folder: Path, *arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-W", "error", "-m", "forklight", *arguments]
    return subprocess.run(
        command, cwd=folder, env=ENVIRON, input=stdin, capture_output=True, text=True, timeout=50, check=False
    )


def _project(folder: Path, toml: str) -> Path:
    (folder / "forklight.toml").write_text(toml)
    (folder / "f.py").write_text("def handler(event): ...\n\ndef other(event): ...\n")
    return folder


def test_a_good_configuration(tmp_path: Path) -> None:
    done = _run(_project(tmp_path, OK + '[functions.g]\nhandler = "f:other"\n'), "check")
    assert (done.stdout, done.stderr, done.returncode) == ("ok: 2 functions (f, g)\n", "", 0)
    done = _run(tmp_path, "check", "f.py")
    assert (done.stdout, done.stderr, done.returncode) == ("ok: 1 function (f)\n", "", 0)
    done = _run(tmp_path, "check", "--json", str(tmp_path))
    assert json.loads(done.stdout) == {"ok": True, "functions": ["f", "g"], "problems": [], "warnings": [], "loads": []}


def test_what_is_left_out_of_the_code_is_told(tmp_path: Path) -> None:
    folder = _project(tmp_path, OK + 'env_file = "prod.env"\n[functions.g]\nhandler = "f:other"\n')
    (folder / "prod.env").write_text("A=1\n")
    (folder / "server.key").write_text("")
    (folder / ".env").write_text("B=1\n")
    done = _run(folder, "check")
    told = "server.key may be secret and stay out of the code, which every function can read"
    assert f"functions.f: .env, {told}: if the function reads it itself, add !.env to .forklightig" in done.stderr
    assert done.stderr.count("may be secret") == 1

    (folder / ".forklightignore").write_text("!server.key\n.env\n")
    assert _run(folder, "check").stderr == ""


def test_names_of_files_cannot_spoil_messages(tmp_path: Path) -> None:
    folder = _project(tmp_path, OK)
    (folder / os.fsdecode(b"caf\xe9\n\x1b[2J.key")).write_text("")
    shown = "caf\\udce9\\n\\x1b[2J.key"
    assert f"functions.f: {shown} may be secret" in _run(folder, "check").stderr
    assert f"{shown} may be secret" in json.loads(_run(folder, "check", "--json").stdout)["warnings"][0]["message"]
    (folder / os.fsdecode(b"caf\xe9\nlink")).symlink_to("nowhere")
    done = _run(folder, "check", "--json")
    assert (
        f"{folder}/caf\\udce9\\nlink is a link that leads nowhere" in json.loads(done.stdout)["problems"][0]["message"]
    )


BROKEN = {
    "unknown keys": (
        (
            '[function.f]\n[functions.f]\nhandler = "f:h"\ntimout = "1s"\nzzz = 1\nhooks = { strt = "f:h" }\n'
            "[machine]\nusr = 1"
        ),
        [
            "forklight.toml:1 function: unknown key (did you mean 'functions'?)",
            "forklight.toml:4 functions.f.timout: unknown key (did you mean 'timeout'?)",
            "forklight.toml:5 functions.f.zzz: unknown key",
            "forklight.toml:6 functions.f.hooks.strt: unknown key: there are after_fork, init, stop",
            "forklight.toml:8 machine.usr: unknown key (did you mean 'user'?)",
        ],
    ),
    "what is to come is not accepted without effect": (
        OK + "streaming = true\n",
        ["forklight.toml:3 functions.f.streaming: unknown key"],
    ),
    "units": (
        OK + 'timeout = 10\ngrace = "1 second"\ninit_timeout = "0s"\nmemory = 512\nmax_result = "6M"\nopen_files = 0\n',
        [
            f"forklight.toml:3 functions.f.timeout: must be a string with a unit, not an integer: {DURATION}",
            'forklight.toml:4 functions.f.grace: "1 second" is not a duration: write "1s"',
            "forklight.toml:5 functions.f.init_timeout: must be more than zero",
            f"forklight.toml:6 functions.f.memory: must be a string with a unit, not an integer: {SIZE}",
            'forklight.toml:7 functions.f.max_result: "6M" is not a size: write "6MiB"',
            "forklight.toml:8 functions.f.open_files: must be more than zero",
        ],
    ),
    "types": (
        'functions = 1\nruntimes = "x"\nmachine = []\ndefaults = 1\n',
        [
            "forklight.toml:1 functions: must be a table, not an integer: write [functions.NAME] and the keys below it",
            "forklight.toml:2 runtimes: must be a table, not a string: write [runtimes.NAME] and the keys below it",
            "forklight.toml:3 machine: must be a table, not a list",
            "forklight.toml:4 defaults: must be a table: write [defaults] and the keys below it",
        ],
    ),
    "a table that is a string": (
        'functions.f = "f:h"\n[[functions.g]]\nhandler = "f:h"\n',
        [
            "forklight.toml:1 functions.f: must be a table, not a string: " + TABLE,
            "forklight.toml:2 functions.g: must be a table, not a list: " + TABLE,
        ],
    ),
    "names": (
        '[functions.Greet]\nhandler = "f:h"\n[functions."a b"]\nhandler = "f:h"\n[runtimes.X]\n',
        [
            f'forklight.toml:1 functions.Greet: "Greet" {NAME} "greet"',
            f'forklight.toml:3 functions."a b": "a b" {NAME} "a-b"',
            f'forklight.toml:5 runtimes.X: "X" {NAME} "x"',
        ],
    ),
    "handlers": (
        '[functions.f]\n[functions.g]\nhandler = "f.h"\n[functions.h]\nhandler = "queue:h"\nhooks.init = "f"\n',
        [
            'forklight.toml:1 functions.f: handler is missing: write handler = "greet:handler"',
            'forklight.toml:3 functions.g.handler: "f.h" is not of the form module:attribute: write "f:h"',
            (
                'forklight.toml:5 functions.h.handler: "queue:h" cannot be loaded: '
                "'queue' is a module of the standard library; rename the file"
            ),
            'forklight.toml:6 functions.h.hooks.init: "f" is not of the form module:attribute: write "f:handler"',
        ],
    ),
    "a problem of the defaults is reported once, where it is": (
        '[defaults]\ntimeout = "x"\nhandler = "f:h"\nmemry = "1MB"\n' + OK + '[functions.g]\nhandler = "f:h"\n',
        [
            f'forklight.toml:2 defaults.timeout: "x" is not a duration: {DURATION}',
            "forklight.toml:3 defaults.handler: has no default: write it below the [functions.NAME] that need it",
            "forklight.toml:4 defaults.memry: unknown key (did you mean 'memory'?)",
        ],
    ),
    "missing files and variables": (
        OK
        + 'code = "src"\nenv_file = ".env"\nenv = { A = "${NO_A} ${NO_B}", B = "${" }\n'
        + 'secrets = { C = { file = "c" }, D = { env = "NO_D" }, E = {} }\n',
        [
            f"forklight.toml:3 functions.f.code: there is no directory src{BESIDE}",
            "forklight.toml:4 functions.f.env_file: .env cannot be read: No such file or directory",
            (
                "forklight.toml:5 functions.f.env.A: needs what is not set in the environment: NO_A, NO_B "
                "(${NAME:-default} would do without)"
            ),
            (
                "forklight.toml:5 functions.f.env.B: has a bad reference: write ${NAME} or ${NAME:-default}, "
                "and $${ for a plain ${"
            ),
            "forklight.toml:6 functions.f.secrets.C: c cannot be read: No such file or directory",
            "forklight.toml:6 functions.f.secrets.D: needs the environment variable NO_D, which is not set",
            'forklight.toml:6 functions.f.secrets.E: write { file = "..." } or { env = "..." }, one of them',
        ],
    ),
    "code that is a file": (
        OK + 'code = "f.py"\n',
        ["forklight.toml:3 functions.f.code: f.py is neither a directory nor a .zip: name its directory"],
    ),
    "runtimes": (
        OK
        + 'runtime = "imagng"\n[runtimes.imaging]\npython = "3.99"\npreload = ["a-b"]\n'
        + '[runtimes.old]\npython = "x/y"\n',
        [
            (
                "forklight.toml:3 functions.f.runtime: there is no [runtimes.imagng] (did you mean 'imaging'?); "
                "leave it out for the runtime of Forklight itself"
            ),
            (
                'forklight.toml:5 runtimes.imaging.python: "3.99" is not found: there is no python3.99 on PATH; '
                "install it, or write its path"
            ),
            (
                'forklight.toml:6 runtimes.imaging.preload[0]: "a-b" is not a module: '
                'write a dotted name, such as "PIL.Image"'
            ),
            (
                'forklight.toml:8 runtimes.old.python: "x/y" is not found: there is no FOLDER/x/y; '
                "install it, or write its path"
            ),
        ],
    ),
    "no function": (
        "[machine]\n",
        ['forklight.toml: there is no function: write [functions.hello] and its handler = "..."'],
    ),
    "no function in the table of functions": (
        "[functions]\n",
        ['forklight.toml: there is no function: write [functions.hello] and its handler = "..."'],
    ),
    "no TOML": (
        OK + "timeout = 10s\n",
        [
            (
                "forklight.toml:3: is not valid TOML: "
                "Expected newline or end of document after a statement in column 13: "
                "if it is a string, it needs quotes"
            ),
        ],
    ),
    "several lines before it": (
        '[functions.f]\nhandler = """\nf:h"""\nenv = { A = """\n""" }\n\n[functions.f.secrets]\n"K" = 1\n',
        ["forklight.toml:8 functions.f.secrets.K: must be a table, not an integer: " + SECRET],
    ),
}


@pytest.mark.parametrize(("toml", "problems"), BROKEN.values(), ids=BROKEN)
def test_a_broken_configuration(tmp_path: Path, toml: str, problems: list[str]) -> None:
    done = _run(_project(tmp_path, toml), "check")
    assert done.stderr.replace(str(tmp_path), "FOLDER").splitlines() == problems
    assert (done.stdout, done.returncode) == ("", 2)


def test_problems_as_json(tmp_path: Path) -> None:
    done = _run(_project(tmp_path, OK + "tmout = 1\n"), "check", "--json")
    problem = {
        "file": "forklight.toml",
        "line": 3,
        "key": "functions.f.tmout",
        "message": "unknown key (did you mean 'timeout'?)",
    }
    assert json.loads(done.stdout) == {"ok": False, "functions": [], "problems": [problem], "warnings": [], "loads": []}
    assert (done.stderr, done.returncode) == ("", 2)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"\xef\xbb\xbf[functions.f]", "forklight.toml:1: begins with a byte order mark: save it as UTF-8 without one"),
        (b"# \n# \xfcber", "forklight.toml:2: is not valid UTF-8: byte 0xfc"),
    ],
)
def test_bytes_that_are_no_text(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "forklight.toml").write_bytes(content)
    done = _run(tmp_path, "check")
    assert (done.stderr, done.returncode) == (f"{problem}\n", 2)


@pytest.mark.parametrize(
    ("argument", "problem"),
    [
        (".", ".: there is no forklight.toml in this directory; name another, or a single file such as hello.py"),
        ("none", "none: does not exist: name a directory with a forklight.toml"),
        ("notes.txt", f"notes.txt: is not a configuration: {NAMEABLE}"),
        ("queue.py", f"queue.py: {RENAME}"),
        ("Hello.py", f"Hello.py: {RENAME}"),
    ],
)
def test_nothing_to_check(tmp_path: Path, argument: str, problem: str) -> None:
    for name in ("notes.txt", "queue.py", "Hello.py"):
        (tmp_path / name).touch()
    done = _run(tmp_path, "check", argument)
    assert (done.stdout, done.stderr, done.returncode) == ("", f"{problem}\n", 2)


def test_what_may_not_be_read_is_named(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    (closed / "python").touch()
    toml = OK + 'runtime = "x"\n[runtimes.x]\npython = "closed/python"\n'
    _project(tmp_path, toml)
    closed.chmod(0o700 if IS_ROOT else 0o000)
    done, nothing = _run(tmp_path, "check"), _run(tmp_path, "check", "closed/app")
    closed.chmod(0o700)
    assert (done.returncode, nothing.returncode) == (2, 2)
    if IS_ROOT:
        assert done.stderr.startswith(f"forklight.toml:5 runtimes.x.python: {closed}/python is blocked by ")
    else:
        assert done.stderr == f"forklight.toml:5 runtimes.x.python: {closed}/python cannot be read: Permission denied\n"
        assert nothing.stderr == "closed/app: cannot be read: Permission denied\n"


def test_an_env_file_is_reported_by_its_own_lines(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app/.env").write_text("A=1\nB='hunter2\nC D\n")
    _project(tmp_path / "app", OK + 'env_file = ".env"\n')
    done = _run(tmp_path, "check", "app")
    assert done.stderr.splitlines() == [
        "app/.env:2 B: has a quote that is never closed",
        "app/.env:3: is not a variable: write NAME=value, NAME in letters, digits and _",
    ]
    assert done.returncode == 2


def test_code_that_cannot_be_taken(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc")
    done = _run(_project(tmp_path, OK + 'code = "."\n'), "check")
    assert done.stderr == (
        f"forklight.toml:3 functions.f.code: {tmp_path}/link is a link out of the code, to /etc: "
        "copy that, or list it in .forklightignore\n"
    )
    assert done.returncode == 2


def test_warnings_do_not_fail(tmp_path: Path) -> None:
    (tmp_path / "email.py").touch()
    (tmp_path / "unused.py").write_text("x = (\n")
    toml = '[functions.f]\nhandler = "f:handler"\nenv.LD_PRELOAD = "x"\n'
    done = _run(_project(tmp_path, toml), "check")
    assert done.stderr.splitlines() == [
        (
            "warning: forklight.toml:1 functions.f: the module 'email' has the name of a standard library module, "
            "which is imported instead: rename it"
        ),
        (
            "warning: forklight.toml:3 functions.f.env.LD_PRELOAD: LD_PRELOAD acts only when an interpreter starts, "
            "and an instance is forked: it will have no effect"
        ),
        "warning: unused.py:1:5: SyntaxError: '(' was never closed: no function imports it",
        "    x = (",
        "        ^",
    ]
    assert (done.stdout, done.returncode) == ("ok: 1 function (f)\n", 0)


def test_users(tmp_path: Path) -> None:
    done = _run(_project(tmp_path, OK + '[machine]\nuser = "root"\n'), "check")
    if IS_ROOT:
        assert done.stderr == (
            'forklight.toml:4 machine.user: "root" is root (uid 0): functions never run as root, name another user\n'
        )
        assert done.returncode == 2
    else:
        assert done.stderr == (
            "warning: forklight.toml:4 machine.user: has no effect: only root can run functions as another user\n"
        )
        assert done.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "stdin", "message"),
    [
        (["ff", "--here"], "", "there is no function 'ff' in FOLDER/forklight.toml (did you mean 'f'?)"),
        (["f", "--here", "-d", "1", "-f", "-"], "", "give -d or -f, not both"),
        (["f", "--here", "-d", "{"], "", "the data is not valid JSON: Expecting property name enclosed in double"),
        (["f", "--here", "-f", "-"], "x", "the data is not valid JSON: Expecting value"),
        (["f", "--here", "-f", "none"], "", "none cannot be read: No such file or directory"),
        (["f", "--her"], "", "No such option"),
    ],
)
def test_invoke_used_wrongly(tmp_path: Path, arguments: list[str], stdin: str, message: str) -> None:
    done = _run(_project(tmp_path, OK), "invoke", *arguments, stdin=stdin)
    assert message in done.stderr.replace(str(tmp_path), "FOLDER")
    assert "Traceback" not in done.stderr
    assert (done.stdout, done.returncode) == ("", 2)


def test_invoke_reports_a_broken_configuration_like_check(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    _project(tmp_path / "app", OK + "tmout = 1\n")
    done = _run(tmp_path, "invoke", "f", "--here", "-c", "app")
    assert done.stderr == "app/forklight.toml:3 functions.f.tmout: unknown key (did you mean 'timeout'?)\n"
    assert done.returncode == 2


@pytest.mark.parametrize("command", [[], ["check"], ["invoke"]])
def test_every_help_has_examples(tmp_path: Path, command: list[str]) -> None:
    done = _run(tmp_path, *command, "--help")
    assert "Examples:\n    forklight " in done.stdout
    assert done.returncode == 0


def test_an_interrupt_exits_with_130_and_no_traceback(tmp_path: Path) -> None:
    fifo = tmp_path / "forklight.toml"
    os.mkfifo(fifo)
    with subprocess.Popen(
        [sys.executable, "-m", "forklight", "check", fifo], env=ENVIRON, stderr=subprocess.PIPE, text=True
    ) as process:
        with fifo.open("w"):  # opens when the process has opened it: now it waits for the configuration
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate(timeout=30)
        assert (stderr.strip(), process.returncode) == ("", 130)
