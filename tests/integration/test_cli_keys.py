"""`forklight keys` and `forklight systemd` as processes."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from triggers.http.policy.keys import digest, read_keys

ROOT = Path(__file__).resolve().parents[2]
ENVIRON = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
TOML = '[functions.f]\nhandler = "f:handler"\n'


def run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-W", "error", "-m", "forklight", *arguments]
    environ = ENVIRON | {"FORKLIGHT_STATE": str(folder / "state")}
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=50, check=False)


@pytest.mark.ordinary_user
def test_a_key_from_its_making_to_its_end(tmp_path: Path) -> None:
    made = run(tmp_path, "keys", "create", "alice")
    assert (made.returncode, made.stderr) == (0, "It is not shown again. Send it as  Authorization: Bearer KEY\n")
    file = tmp_path / "state" / "keys"
    assert read_keys(file)["alice"].sha256 == digest(made.stdout.strip())
    assert made.stdout.strip() not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (tmp_path / "state" / ".gitignore").read_text() == "*\n"
    also = json.loads(run(tmp_path, "keys", "create", "bob", "--json").stdout)
    assert (also["name"], digest(also["key"])) == ("bob", read_keys(file)["bob"].sha256)
    listed = run(tmp_path, "keys", "list").stdout.splitlines()
    assert [line.split()[0] for line in listed] == ["NAME", "alice", "bob"]
    assert [one["name"] for one in json.loads(run(tmp_path, "keys", "list", "--json").stdout)] == ["alice", "bob"]
    assert run(tmp_path, "keys", "revoke", "alice").stdout == "revoked alice\n"
    assert list(read_keys(file)) == ["bob"]


def test_the_scopes_of_a_key(tmp_path: Path) -> None:
    def listed() -> list[str]:
        return run(tmp_path, "keys", "list").stdout.splitlines()[1].split(maxsplit=2)[2:]

    made = run(tmp_path, "keys", "create", "ci", "--scope", "orders:write", "--scope", "a", "--scope", "a", "--json")
    assert json.loads(made.stdout)["scopes"] == ["orders:write", "a"]
    assert listed() == ["orders:write a"]
    assert run(tmp_path, "keys", "update", "ci", "--scope", "*").stdout == "updated ci: *\n"
    key = read_keys(tmp_path / "state" / "keys")["ci"]
    assert (key.sha256, key.scopes) == (digest(json.loads(made.stdout)["key"]), ("*",))
    assert run(tmp_path, "keys", "update", "ci", "--no-scopes").stdout == "updated ci: no scopes\n"
    assert listed() == ["-"]


def test_a_deploy_key(tmp_path: Path) -> None:
    made = run(tmp_path, "keys", "create", "ci", "--deploy")
    assert made.stderr == "It is not shown again. Set FORKLIGHT_KEY to it for forklight deploy\n"
    key = read_keys(tmp_path / "state" / "keys")["ci"]
    assert (key.sha256, key.deploy) == (digest(made.stdout.strip()), True)
    assert run(tmp_path, "keys", "list").stdout.splitlines()[1].endswith("  (deploy key)")
    assert json.loads(run(tmp_path, "keys", "list", "--json").stdout)[0]["deploy"] is True
    for arguments in (("create", "x", "--deploy", "--scope", "a"), ("update", "ci", "--scope", "a")):
        done = run(tmp_path, "keys", *arguments)
        assert (done.returncode, "so it has no scopes" in done.stderr or "which has no scopes" in done.stderr) == (
            2,
            True,
        )


def test_a_deploy_key_of_applications(tmp_path: Path) -> None:
    run(tmp_path, "keys", "create", "ci", "--deploy")
    words = ("--application", "shop", "--application", "stall", "--application", "shop")
    made = run(tmp_path, "keys", "create", "team", "--deploy", *words, "--json")
    assert json.loads(made.stdout)["applications"] == ["shop", "stall"]
    known = read_keys(tmp_path / "state" / "keys")
    assert (known["ci"].applications, known["team"].applications) == ((), ("shop", "stall"))
    listed = run(tmp_path, "keys", "list").stdout.splitlines()
    assert listed[1].endswith("  (deploy key)")
    assert listed[2].endswith("  (deploy key of shop, stall)")
    assert [one["applications"] for one in json.loads(run(tmp_path, "keys", "list", "--json").stdout)] == [
        [],
        ["shop", "stall"],
    ]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (
            ("create", "eve", "--application", "shop"),
            2,
            "Error: only a deploy key is for applications: add --deploy, or leave out --application\n",
        ),
        (
            ("create", "eve", "--deploy", "--application", "Shop"),
            2,
            "Error: 'Shop' is not the name of an application: a small letter, then up to 62 small letters, digits",
        ),
        (
            ("create", "eve", "--deploy", "--application", ""),
            2,
            "Error: '' is not the name of an application: a small ",
        ),
        (("create", "bob"), 1, "Error: there is a key 'bob' already: revoke it first, or choose another name\n"),
        (("revoke", "bop"), 1, "Error: there is no key 'bop' (did you mean 'bob'?)\n"),
        (("update", "bop", "--scope", "a"), 1, "Error: there is no key 'bop' (did you mean 'bob'?)\n"),
        (
            ("update", "bob"),
            2,
            "Error: say which scopes the key shall have: --scope SCOPE, repeatable, or --no-scopes\n",
        ),
        (
            ("create", "eve", "--scope", "a b"),
            2,
            "such as orders:read, of up to 100 ASCII characters without quotes and backslashes\n",
        ),
        (
            ("update", "bob", "--scope", "orders:*"),
            2,
            "Error: 'orders:*' is not a scope: the only wildcard is \"*\" alone, as the scope of a key\n",
        ),
        (
            ("create", "a b"),
            2,
            "Error: 'a b' is not a valid name: up to 63 letters, digits, and . _ @ - after the first\n",
        ),
    ],
)
def test_what_goes_wrong_is_one_line(tmp_path: Path, arguments: tuple[str, ...], status: int, said: str) -> None:
    run(tmp_path, "keys", "create", "bob")
    done = run(tmp_path, "keys", *arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr
    assert done.stderr.count("Error: ") == 1
    assert list(read_keys(tmp_path / "state" / "keys")) == ["bob"]


def test_a_broken_file_of_keys_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "keys").write_text("{")
    for arguments in (("list",), ("create", "a"), ("revoke", "a")):
        done = run(tmp_path, "keys", *arguments)
        assert done.returncode == 1
        assert "is not a valid keys file" in done.stderr
    assert (tmp_path / "state" / "keys").read_text() == "{"


def test_units_of_an_application(tmp_path: Path) -> None:
    (tmp_path / "forklight.toml").write_text(TOML + '[http]\nlisten = "unix:/run/shop.sock"\n')
    (tmp_path / "f.py").write_text("def handler(event): ...\n")
    service = run(tmp_path, "systemd", "--name", "shop", "--user", "keeper")
    assert service.returncode == 0
    assert "User=keeper\nStateDirectory=shop\n" in service.stdout
    assert f" serve {tmp_path}/forklight.toml --log-format json\n" in service.stdout
    (tmp_path / "current").symlink_to(tmp_path)
    assert f" serve {tmp_path}/current/forklight.toml " in run(tmp_path, "systemd", "current").stdout
    assert "ListenStream=/run/shop.sock\n" in run(tmp_path, "systemd", "--socket").stdout
    (tmp_path / "forklight.toml").write_text(TOML + '[http]\nlisten = "localhost:80"\n')
    for arguments, word in ((("--socket",), "'localhost' is a name"), (("--name", "a/b"), "is not a unit name")):
        done = run(tmp_path, "systemd", *arguments)
        assert done.returncode == 2
        assert word in done.stderr


@pytest.mark.parametrize(
    "command",
    [["keys"], ["keys", "create"], ["keys", "list"], ["keys", "update"], ["keys", "revoke"], ["systemd"]],
    ids=" ".join,
)
def test_every_help_has_examples(tmp_path: Path, command: list[str]) -> None:
    assert "Examples:\n    forklight " in run(tmp_path, *command, "--help").stdout
