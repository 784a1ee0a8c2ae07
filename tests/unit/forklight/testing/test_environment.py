"""The environment of a handler run in process: that of its function, and nothing that a shell happened to set."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from forklight.config.problem import ConfigError
from forklight.testing import LoadError, arun, call, run
from forklight.types import Event

ROOT = Path(__file__).resolve().parents[4]
TOML = """
[defaults]
env = { LEVEL = "info", WHERE = "${WHERE:-here}" }
[functions.order]
handler = "shop_module:order"
runtime = "own"
env_file = "shop.env"
env = { TZ = "Asia/Tokyo" }
secrets = { KEY = { file = "key" }, TOKEN = { env = "SHOP_TOKEN" } }
[functions.one]
handler = "shop_module:shared"
env = { LEVEL = "one" }
[functions.two]
handler = "shop_module:shared"
[functions.many]
handler = "shop_module:many"
concurrency = 100
[runtimes.own]
env = { OMP_NUM_THREADS = "2" }
"""
CODE = """
import os, time
AT_IMPORT = os.environ.get("KEY")
def order(event):
    name = event["data"]
    if name == "all":
        return dict(os.environ)
    if name == "break":
        os.environ["LEVEL"] = "broken"
        raise RuntimeError(AT_IMPORT)
    return {"value": os.environ.get(name), "hour": time.localtime(0).tm_hour}
def shared(event):
    return os.environ["LEVEL"]
def many(event):
    return 1
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "forklight.toml").write_text(TOML)
    (tmp_path / "shop.env").write_text("LEVEL=file\nFROM_FILE='a b'\n")
    (tmp_path / "key").write_text("s3cret\n")
    (tmp_path / "shop_module.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("SHOP_TOKEN", "t0ken")
    monkeypatch.setenv("TZ", "UTC")
    yield tmp_path
    sys.modules.pop("shop_module", None)


def value(name: str, env: dict[str, str] | None = None) -> object:
    run(lambda _event: None, call())  # which leaves FORKLIGHT_DATA
    before = dict(os.environ)
    result = run("shop_module:order", call(json=name), env=env)
    assert dict(os.environ) == before
    return result.response.json()["value"]


def test_a_handler_has_what_its_function_has() -> None:
    assert (value("KEY"), value("TOKEN"), value("FROM_FILE")) == ("s3cret", "t0ken", "a b")
    assert (value("LEVEL"), value("WHERE"), value("OMP_NUM_THREADS")) == ("info", "here", "2")
    assert value("FORKLIGHT_FUNCTION") == "order"


def test_only_a_function_that_asks_for_it_has_the_data_folder(folder: Path) -> None:
    assert value("FORKLIGHT_DATA") is None
    assert value("FORKLIGHT_DATA", env={"FORKLIGHT_DATA": "/mine"}) == "/mine"
    (folder / "forklight.toml").write_text(TOML.replace("[defaults]", "[defaults]\ndata = true"))
    assert value("FORKLIGHT_DATA") == os.environ["FORKLIGHT_DATA"]


def test_the_module_is_imported_with_it() -> None:
    run(lambda _event: None, call())
    before = dict(os.environ)
    assert run("shop_module:order", call(json="break")).failure.message == "s3cret"
    assert dict(os.environ) == before


def test_a_time_zone_takes_effect_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TZ")
    time.tzset()
    hour = time.localtime(0).tm_hour
    assert run("shop_module:order", call(json="LEVEL")).response.json()["hour"] == 9
    assert time.localtime(0).tm_hour == hour


def test_what_a_test_sets_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEVEL", "set")
    monkeypatch.setenv("WHERE", "there")
    assert (value("LEVEL"), value("WHERE")) == ("set", "there")
    assert value("LEVEL", env={"LEVEL": "for this run", "KEY": "mine"}) == "for this run"


def test_what_a_shell_has_set_is_not_there(folder: Path) -> None:
    program = (
        "import os, sys, json; sys.path[:0] = sys.argv[1:]\n"
        "from forklight.testing import call, run\n"
        "os.environ['SET_BY_TEST'] = '1'\n"
        "print(run('shop_module:order', call(json='all')).response.text)\n"
        "print(run(lambda event: 'AWS_KEY' in os.environ, call()).response.text, 'AWS_KEY' in os.environ)"
    )
    command = [sys.executable, "-c", program, str(folder), str(ROOT)]
    environ = {"PATH": "/bin", "HOME": "/home/me", "AWS_KEY": "mine", "SHOP_TOKEN": "t"}
    said = subprocess.run(command, env=environ, check=True, capture_output=True, text=True).stdout.splitlines()
    found = eval(said[0])
    assert found["SET_BY_TEST"] == "1"
    assert {"AWS_KEY", "SHOP_TOKEN"}.isdisjoint(found)
    assert (found["LANG"], found["TMPDIR"]) == ("C.UTF-8", found["HOME"])
    assert found["HOME"] != "/home/me"
    assert not Path(found["HOME"]).exists()
    assert said[1] == "true True"


def test_a_secret_that_is_missing(folder: Path) -> None:
    (folder / "key").unlink()
    with pytest.raises(ConfigError, match=r"functions.order.secrets.KEY: .*key cannot be read.*env={"):
        value("LEVEL")
    assert value("KEY", env={"KEY": "of the test"}) == "of the test"
    assert run("shop_module:shared", call(), function="one").response.text == "one"


def test_an_env_file_that_is_missing(folder: Path) -> None:
    (folder / "shop.env").unlink()
    with pytest.raises(ConfigError, match=r"env_file: .*shop.env cannot be read.*env={"):
        value("LEVEL")
    assert value("LEVEL", env={"OTHER": "1"}) == "info"


def test_a_handler_of_several_functions(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"one and two run shop_module:shared with .*function='one'"):
        run("shop_module:shared", call())
    assert run("shop_module:shared", call(), function="two").response.text == "info"
    (folder / "forklight.toml").write_text(TOML.replace('"one"', '"info"'))
    assert run("shop_module:shared", call(), function="other").response.text == "info"


def test_a_handler_of_no_function_has_the_environment_of_the_test(folder: Path) -> None:
    def handler(event: Event) -> list[str | None]:
        return [os.environ.get(name) for name in event["data"]]

    names = ["SHOP_TOKEN", "KEY", "ADDED"]
    assert run(handler, call(json=names), env={"ADDED": "1"}).response.json() == ["t0ken", None, "1"]
    (folder / "forklight.toml").unlink()
    assert run("shop_module:order", call(json="SHOP_TOKEN")).response.json()["value"] == "t0ken"
    with pytest.raises(LoadError):
        run("no_such_module_of_the_test:handler", call())


def test_runs_at_the_same_time_leave_nothing() -> None:
    async def both() -> list[str]:
        passed = asyncio.Event()

        async def first(event: Event) -> str:
            await passed.wait()
            return os.environ.get("ONE", "") + os.environ.get("TWO", "")

        async def second(event: Event) -> str:
            passed.set()
            await asyncio.sleep(0)
            return os.environ["TWO"]

        one = asyncio.create_task(arun(first, call(), env={"ONE": "1"}))
        await asyncio.sleep(0)
        results = await asyncio.gather(one, arun(second, call(), env={"TWO": "2"}))
        return [result.response.text for result in results]

    asyncio.run(both())
    assert not {"ONE", "TWO"} & set(os.environ)


def test_a_sync_handler_whose_function_has_concurrency_cannot_load() -> None:
    with pytest.raises(LoadError, match=r"'shop_module:many' is `def` and .* concurrency = 100: make it `async def`"):
        run("shop_module:many", call())
    from shop_module import many  # type: ignore[import-not-found]

    with pytest.raises(LoadError, match="concurrency = 100"):
        run(many, call())
