"""What can be known of an application before it is on the server, and what only the server can know."""

from pathlib import Path

import pytest

from forklight.commands.releasing import name_in
from forklight.config.deployable import Deployable, load_deployable
from forklight.config.problem import ConfigError

TOML = """
[http]
listen = "0.0.0.0:80"
[runtimes.app]
requirements = "requirements.txt"
[functions.a]
handler = "a:handler"
code = "src"
runtime = "app"
timeout = "${TIMEOUT}"
env = { URL = "${URL}", PORT = "${PORT:-1}" }
env_file = "a.env"
secrets = { TOKEN = { file = "token" }, KEY = { env = "KEY" } }
queue = "orders@elsewhere"
[functions.b]
handler = "b:handler"
[functions.c]
handler = "c:handler"
code = { url = "https://example.com/c.zip", sha256 = "%s", headers = { Authorization = { file = "c.token" } } }
""" % ("ab" * 32)


def found(folder: Path, toml: str) -> Deployable:
    for name, text in (
        ("forklight.toml", toml),
        ("requirements.txt", "-r more/base.txt\n"),
        ("more/base.txt", ""),
        ("a.env", "A=1\n"),
        ("b.py", "def handler(event): ...\n"),
        ("src/a.py", "def handler(event): ...\n"),
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return load_deployable(folder, {})


def problem(folder: Path, toml: str) -> str:
    with pytest.raises(ConfigError) as caught:
        found(folder, toml)
    [only] = caught.value.problems
    return str(only)


def test_what_only_the_server_has_is_no_problem_here(tmp_path: Path) -> None:
    app = found(tmp_path, TOML)
    assert app.functions == ("a", "b", "c")
    assert app.code == {tmp_path / "src", tmp_path}
    named = ("forklight.toml", "requirements.txt", "more/base.txt", "a.env")
    assert app.also == {tmp_path / name for name in named}
    assert {tmp_path / "token", tmp_path / "c.token"} < app.apart
    assert app.config is not None
    assert [str(note) for note in app.notes] == ["forklight.toml:2 http: is ignored: [http] is the server's own"]


def test_an_interpreter_that_is_not_here_is_a_note(tmp_path: Path) -> None:
    app = found(tmp_path, TOML.replace("[functions.a]", 'python = "/none/python"\n[functions.a]'))
    assert app.config is None
    assert app.code == {tmp_path / "src", tmp_path}
    assert "runtimes.app.python: not here, and so not checked: " in str(app.notes[1])


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('"src"', '"/usr/lib"', "functions.a.code: /usr/lib is outside of the application: only what is in its folder"),
        ('"a.env"', '"../a.env"', "functions.a.env_file: ../a.env is outside of the application: only what is in its"),
        ('"token"', '"/run/token"', "functions.a.secrets.TOKEN: /run/token is outside of the application: name it by"),
        ('"c.token"', '"/c"', "functions.c.code.headers.Authorization: /c is outside of the application: name it by"),
        ('"a:handler"', '"a"', 'functions.a.handler: "a" is not of the form module:attribute'),
        ("[functions.b]", "[functions.B]", 'functions.B: "B" is not a valid name'),
        ('"requirements.txt"', '"none.txt"', "runtimes.app.requirements: none.txt cannot be read: No such file"),
    ],
)
def test_what_is_wrong_anywhere(tmp_path: Path, before: str, after: str, said: str) -> None:
    assert said in problem(tmp_path, TOML.replace(before, after))


def test_an_application_has_functions(tmp_path: Path) -> None:
    assert "there is no function" in problem(tmp_path, "[http]\n")


def test_the_name_of_an_application_is_known_whatever_else_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAME", "Shop 2")
    folder = tmp_path / "My Shop"
    folder.mkdir()
    assert name_in(folder) is None
    for text, name in (
        ("", "my-shop"),
        ("[bus]\nname = 'shop'\n", "shop"),
        ("[bus]\nname = '${NAME}'\n", "shop-2"),
        ("[bus]\nname = '${NONE}'\n", "my-shop"),
        ("[bus\n", "my-shop"),
    ):
        (folder / "forklight.toml").write_text(text)
        assert name_in(folder) == name_in(folder / "forklight.toml") == name
