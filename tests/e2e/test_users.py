"""As root, each function has a user of its own, which stays with it; those that share data share one."""

import os
import pwd
from pathlib import Path

import pytest

from forklight.state.uids import read_uids
from tests.kit.application import application
from tests.kit.served import run, serving

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives functions users")

MACHINE = '[defaults]\nisolation = "limits"\n[machine]\nuids = "200000-200003"\n'
FUNCTION = '[functions.{name}]\nhandler = "f:handler"\ncode = "{folder}"\nhttp = "/{name}"\n'
CODE = """
import os

def handler(event):
    found = {"uid": os.getuid(), "groups": os.getgroups()}
    for place in os.environ["PLACES"].split(":") if "PLACES" in os.environ else ():
        try:
            found[os.path.basename(place)] = os.listdir(place)
        except OSError as error:
            found[os.path.basename(place)] = error.strerror
    if "FORKLIGHT_DATA" in os.environ:
        with open(os.path.join(os.environ["FORKLIGHT_DATA"], "counter"), "a+") as file:
            file.write(str(os.getuid()) + "\\n")
            file.seek(0)
            found["kept"] = file.read().split()
    return found
"""


def configure(folder: Path, functions: dict[str, str], more: str = "") -> None:
    """Functions with the folders of their code; `more` follows the last one."""
    tables = [FUNCTION.format(name=name, folder=code) for name, code in functions.items()]
    (folder / "forklight.toml").write_text(MACHINE + "".join(tables) + more)
    for code in set(functions.values()):
        (folder / code).mkdir(exist_ok=True)
        (folder / code / "f.py").write_text(f"# {code}\n{CODE}")


async def test_each_function_has_a_user_and_keeps_it() -> None:
    shop, mail, keeps = {"shop": "one"}, {"mail": "two"}, {"keeps": "three", "keeps_too": "three"}
    nobody = pwd.getpwnam("nobody")
    with application("") as folder:
        configure(folder, shop | mail)
        async with serving(folder) as server:
            found = {name: (await server.get(f"/{name}")).json() for name in ("shop", "mail")}
            assert {name: one["uid"] for name, one in found.items()} == {"mail": 200_001, "shop": 200_002}
            assert found["shop"]["groups"] == [nobody.pw_gid]
            configure(folder, shop | {"new": "two"})
            assert (await server.run("reload")).status == 0
            assert (await server.get("/new")).json()["uid"] == 200_003
            assert (await server.run("invoke", "shop", "--here")).stdout.startswith('{"uid":200002')
        configure(folder, mail | {"another": "two"})
        told = await run("check", "--state", str(folder / "state"), cwd=folder)
        assert told.status == 2
        assert "machine.uids: has 4 numbers, which leaves none for another: " in told.stderr
        configure(folder, mail | keeps, "data = true\n[functions.plain]\nhandler = 'f:handler'\ncode = 'two'\n")
        toml = (folder / "forklight.toml").read_text().replace('http = "/keeps"', 'http = "/keeps"\ndata = true')
        (folder / "forklight.toml").write_text(toml.replace("plain", "new"))
        told = await run("doctor", "--state", str(folder / "state"), cwd=folder)
        who = f"functions run as users of their own, 200001-200003, and those with data = true as {nobody.pw_name!r}"
        assert who in told.stdout
        async with serving(folder) as server:
            assert (await server.get("/mail")).json()["uid"] == 200_001
            first, second = (await server.get("/keeps")).json(), (await server.get("/keeps_too")).json()
            assert (first["uid"], second["uid"]) == (nobody.pw_uid, nobody.pw_uid)
            assert second["kept"] == [str(nobody.pw_uid)] * 2
        assert read_uids(folder / "state/uids") == {200_001: "mail", 200_002: "shop", 200_003: "new"}


async def test_what_belongs_to_one_function_is_closed_to_the_others() -> None:
    functions = {"shop": "one", "mail": "two", "keeps": "three"}
    with application("") as folder:
        state = folder / "state"
        configure(folder, functions, "data = true\n")
        async with serving(folder) as server:
            assert (await server.get("/keeps")).json()["uid"] == pwd.getpwnam("nobody").pw_uid
            own = {path.stat().st_gid: path for path in (state / "versions").iterdir()}
            assert own.keys() == {0, 200_001, 200_002}
            places = [own[200_001], own[200_002], state / "data", state / "tmp", state]
            configure(folder, functions, "data = true\n")
            toml = (folder / "forklight.toml").read_text()
            env = f'env = {{ PLACES = "{":".join(map(str, places))}" }}\n'
            (folder / "forklight.toml").write_text(toml.replace('http = "/shop"\n', f'http = "/shop"\n{env}'))
            assert (await server.run("reload")).status == 0
            found = (await server.get("/shop")).json()
            assert found["uid"] == 200_002
            assert "f.py" in found[own[200_002].name]
            for place in (own[200_001].name, "data", "tmp"):
                assert found[place] == "Permission denied", place


async def test_a_folder_that_only_the_shared_user_may_pass_is_told_at_the_start() -> None:
    nobody = pwd.getpwnam("nobody")
    with application("") as folder:
        configure(folder, {"shop": "one"})
        (folder / "home").mkdir(mode=0o700)
        os.chown(folder / "home", nobody.pw_uid, nobody.pw_gid)
        told = await run("serve", "--state", str(folder / "home/state"), cwd=folder)
        assert told.status == 1
        who = f"the users 200000-200003 ([machine] uids), who have the group of {nobody.pw_name!r}"
        assert f"is out of reach for {who}: {folder}/home blocks the way" in told.stderr
