"""What `ps` and the metrics say of what is on disk and not served: edited files, and a reload that failed."""

import json
import re
from typing import Any

from tests.kit.application import application
from tests.kit.served import Server, serving

TOML = """
[functions.say]
handler = "say:handler"
http = "/say"
env_file = "say.env"
[functions.tell]
handler = "tell:handler"
http = "/tell"
"""
SAY = "import words\ndef handler(event):\n    return words.WORD\n"
TELL = "def handler(event):\n    return 1\n"


async def shown(server: Server) -> str:
    done = await server.run("ps")
    assert (done.status, done.stderr) == (0, "")
    return done.stdout


async def told(server: Server) -> tuple[Any, list[str]]:
    """What has changed on disk, and the functions that a reload would renew."""
    status = json.loads((await server.run("ps", "--json")).stdout)
    return status["unread"], [one["name"] for one in status["functions"] if one["stale"]]


async def metric(server: Server, name: str) -> float:
    found = re.search(rf"^{name} (\S+)$", (await server.ask("/metrics")).body.decode(), re.MULTILINE)
    assert found is not None
    return float(found[1])


async def test_what_is_on_disk_and_not_served() -> None:
    with application(TOML, say=SAY, tell=TELL, words='WORD = "one"\n') as folder:
        (folder / "say.env").write_text("A=1\n")
        async with serving(folder) as server:
            assert [(await server.get(path)).status for path in ("/say", "/tell")] == [200, 200]
            assert await told(server) == ({"code": [], "settings": [], "problem": ""}, [])
            assert "stale" not in await shown(server)
            (folder / "words.py").write_text('WORD = "two"\n')
            (folder / "say.env").write_text("A=2\n")
            unread, stale = await told(server)
            assert (unread["code"], unread["settings"], stale) == (["words.py"], [str(folder / "say.env")], ["say"])
            text = await shown(server)
            assert re.search("^say  +[0-9a-f]{12} stale ", text, re.MULTILINE)
            assert re.search("^tell  +[0-9a-f]{12}  ", text, re.MULTILINE)
            assert f"\nchanged on disk, and not yet served: {folder}/say.env, words.py; run: forklight reload\n" in text
            assert (await server.run("reload")).status == 0
            assert await told(server) == ({"code": [], "settings": [], "problem": ""}, [])
            (folder / "link.py").symlink_to("/nowhere")
            assert "cannot be compared with what is served: " in await shown(server)


async def test_a_reload_that_failed() -> None:
    with application(TOML, say=SAY, tell=TELL, words="") as folder:
        (folder / "say.env").write_text("A=1\n")
        async with serving(folder) as server:
            started_at_s = await metric(server, "forklight_last_reload_success_timestamp_seconds")
            assert await metric(server, "forklight_last_reload_successful") == 1
            (folder / "tell.py").write_text("import no_such_module\n")
            assert (await server.run("reload")).status == 1
            text = await shown(server)
            assert re.search(
                r"^the reload at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC failed, and nothing has changed: "
                r"tell: load/ImportModuleError: .*no_such_module",
                text,
                re.MULTILINE,
            )
            assert "changed on disk, and not yet served: tell.py; run: forklight reload\n" in text
            assert await metric(server, "forklight_last_reload_successful") == 0
            assert await metric(server, "forklight_last_reload_success_timestamp_seconds") == started_at_s
            (folder / "tell.py").write_text(TELL)
            assert (await server.run("reload")).status == 0
            assert "the reload at" not in await shown(server)
            assert await metric(server, "forklight_last_reload_successful") == 1
            assert await metric(server, "forklight_last_reload_success_timestamp_seconds") > started_at_s
