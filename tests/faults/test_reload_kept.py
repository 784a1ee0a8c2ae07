"""A reload keeps the processes of functions that see nothing of what changed, and says which."""

import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path

import pytest

from tests.kit.application import at_limits, open_folder
from tests.kit.served import Server, eventually, serving

FILES = {
    "heavy.py": """
import os
import heavy_lib
print("heavy is loaded")
def handler(event):
    from lazily import ANSWER
    return {"pid": os.getpid(), "template": os.getppid(), "answer": ANSWER}
""",
    "heavy_lib.py": "",
    "lazily.py": "ANSWER = 1\n",
    "light.py": "import shared\ndef handler(event):\n    return shared.NUMBER\n",
    "shared.py": "NUMBER = 1\n",
    "tests/test_light.py": "",
    "README.md": "",
}


@contextlib.contextmanager
def two_functions(more: str = "") -> Iterator[Path]:
    with open_folder() as folder:
        names = ("heavy", "light")
        tables = [f'[functions.{name}]\nhandler = "{name}:handler"\nhttp = "/{name}"\n{more}' for name in names]
        (folder / "forklight.toml").write_text(at_limits("".join(tables)))  # the test kills a template by its pid
        (folder / "tests").mkdir()
        for name, text in FILES.items():
            (folder / name).write_text(text)
        yield folder


@contextlib.asynccontextmanager
async def serving_two(folder: Path, command: str = "serve") -> AsyncIterator[Server]:
    """A server that has called both: their templates have loaded."""
    async with serving(folder, command=command) as server:
        assert (await server.get("/heavy")).json()["answer"] == 1
        assert (await server.get("/light")).json() == 1
        yield server


async def reloaded(server: Server, *options: str) -> str:
    done = await server.run("reload", *options)
    assert (done.status, done.stderr) == (0, "")
    return done.stdout


async def test_a_function_that_does_not_see_the_change_keeps_its_processes() -> None:
    with two_functions() as folder:
        async with serving_two(folder) as server:
            heavy, version = (await server.get("/heavy")).json(), (await server.status("heavy"))["version"]
            for number in (2, 3):
                (folder / "shared.py").write_text(f"NUMBER = {number}\n")
                assert await reloaded(server) == "reloaded: light changed; heavy does not use what changed\n"
                assert (await server.get("/light")).json() == number
            assert (await server.get("/heavy")).json() == heavy
            assert (await server.status("heavy"))["version"] == version
            assert len(server.entries(text="heavy is loaded")) == 1
            assert await reloaded(server) == "reloaded: no function changed\n"

            # A template that is lost is loaded from the snapshot of the kept version.
            os.kill(heavy["template"], signal.SIGKILL)
            await eventually(lambda: _answers_anew(server, heavy["template"]))
            await eventually(lambda: _is_logged(server, "heavy is loaded", times=2))
            (folder / "shared.py").write_text("NUMBER = 4\n")
            assert await reloaded(server) == "reloaded: light changed; heavy does not use what changed\n"
            assert len(list((server.state / "versions").iterdir())) <= 3


async def _is_logged(server: Server, text: str, *, times: int) -> bool:
    return len(server.entries(text=text)) == times


async def _all_ended(server: Server, templates: Iterable[int]) -> bool:
    """A reload answers when new events run on the new version; what it replaced ends after that."""
    return not set(templates) & set(server.templates())


async def _answers_anew(server: Server, template: int) -> bool:
    """The instance of the lost template answers until its end, and may be taken once more."""
    reply = await server.get("/heavy")
    return reply.status == 200 and reply.json()["template"] not in (template, 1) and _is_template(server, reply.json())


def _is_template(server: Server, answer: dict[str, int]) -> bool:
    return answer["template"] in server.templates()


@pytest.mark.parametrize("name", ["heavy_lib.py", "lazily.py", "heavy.py"])
async def test_what_it_loads_or_may_load_later_renews_it(name: str) -> None:
    with two_functions() as folder:
        async with serving_two(folder) as server:
            before = (await server.get("/heavy")).json()
            (folder / name).write_text(f"{FILES[name]}\nANSWER = 2\n")
            assert await reloaded(server) == "reloaded: heavy changed; light does not use what changed\n"
            after = (await server.get("/heavy")).json()
            assert after["template"] != before["template"]
            assert after["answer"] == (2 if name == "lazily.py" else 1)


async def test_tests_and_documents_renew_nothing_unless_all_is_asked_for() -> None:
    with two_functions() as folder:
        async with serving_two(folder) as server:
            before = server.templates()
            (folder / "tests/test_light.py").write_text("def test_it(): ...\n")
            (folder / "tests/test_heavy.py").write_text("def test_it(): ...\n")
            (folder / "README.md").write_text("Functions.\n")
            assert await reloaded(server) == "reloaded: no function uses what changed\n"
            assert server.templates() == before
            told = json.loads(await reloaded(server, "--json"))
            assert told == {"ok": True}
            assert await reloaded(server, "--all") == "reloaded: heavy, light changed\n"
            await eventually(lambda: _all_ended(server, before))


async def test_a_doubt_renews_it_and_is_named() -> None:
    with two_functions() as folder:
        async with serving_two(folder) as server:
            (folder / "data.json").write_text("{}")
            told = json.loads(await reloaded(server, "--json"))
            why = "data.json has changed, which is not Python code"
            assert (told["changed"], told["because"]) == (["heavy", "light"], {"heavy": why, "light": why})


async def test_a_function_at_rest_is_loaded_by_no_change_that_it_does_not_see() -> None:
    with two_functions(more='rest = "none"\n') as folder:
        async with serving(folder) as server:
            assert (await server.get("/light")).status == 200
            (folder / "README.md").write_text("Functions.\n")
            assert await reloaded(server) == "reloaded: no function uses what changed\n"
            (folder / "lazily.py").write_text("ANSWER = 2\n")
            await reloaded(server)
            assert (await server.get("/heavy")).json()["answer"] == 2


async def test_other_settings_of_the_pool_keep_the_template() -> None:
    with two_functions() as folder:
        async with serving_two(folder) as server:
            before = (await server.get("/heavy")).json()
            (folder / "shared.py").write_text("NUMBER = 2\n")
            toml = (folder / "forklight.toml").read_text().replace('"/heavy"\n', '"/heavy"\nmax_instances = 2\n')
            (folder / "forklight.toml").write_text(toml)
            assert await reloaded(server) == "reloaded: heavy, light changed\n"
            after = (await server.get("/heavy")).json()
            assert (after["template"], after["pid"] == before["pid"]) == (before["template"], False)


async def test_dev_says_so_too() -> None:
    with two_functions() as folder:
        (folder / ".forklightignore").write_text("/log\n")
        async with serving_two(folder, "dev") as server:
            (folder / "tests/test_light.py").write_text("def test_it(): ...\n")
            await server.wait_said("^reloaded: no function uses what changed$")
            (folder / "shared.py").write_text("NUMBER = 2\n")
            await server.wait_said("^reloaded: light changed; heavy does not use what changed$")
            assert (await server.get("/light")).json() == 2


async def test_a_name_that_is_not_utf8_can_be_the_reason() -> None:
    with two_functions() as folder:
        async with serving_two(folder) as server:
            (folder / os.fsdecode(b"caf\xe9.txt")).write_text("")
            why = json.loads(await reloaded(server, "--json"))["because"]["light"]
            assert why == "caf\\udce9.txt has changed, which is not Python code"
