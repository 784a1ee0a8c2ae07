"""The examples do what they say."""

import os
from typing import Any

import aiohttp

from tests.kit.application import open_folder
from tests.kit.installed import ROOT
from tests.kit.served import serving


async def test_hello() -> None:
    with open_folder() as folder:
        async with serving(folder, str(ROOT / "examples/hello")) as server:
            assert (await server.get("/hello/Ada")).json() == {"hello": "Ada"}
            assert (await server.post("/sum", [1, 2, 3])).json() == {"sum": 6}
            first, second = (await server.get("/whoami")).json(), (await server.get("/whoami")).json()
            assert (second["process"], second["calls"], second["start"]) == (first["process"], 2, "warm")
            assert first["user"] == os.getuid() or os.getuid() == 0 != first["user"]


async def test_interpreter() -> None:
    with open_folder() as folder:
        async with serving(folder, str(ROOT / "examples/interpreter")) as server:

            async def run(code: str, path: str = "/run", **more: Any) -> dict[str, Any]:
                answer: dict[str, Any] = (await server.post(path, {"code": code, **more})).json()
                return answer

            printed = await run(
                "import os\nprint('hi', flush=True)\nos.system('echo child')\nleft = 1\nos.environ['TMPDIR']"
            )
            assert (printed["output"], printed["error"]) == ("hi\nchild\n", None)
            again = await run("import os\nassert 'left' not in globals()\nos.environ['TMPDIR']")
            assert again["error"] is None
            assert again["value"] != printed["value"]

            files = {"in/a.txt": "abc", "b.bin": {"base64": "AAE="}}
            made = await run("text = open('in/a.txt').read()\nopen('c.txt', 'w').write(text.upper())", files=files)
            assert made["files"] == {"c.txt": {"base64": "QUJD"}}
            assert (await run("open('big', 'wb').write(bytes(5_000_000))"))["left_out"] == ["big"]

            failed = await run("def f():\n    return 1 / 0\nf()")
            assert "line 2, in f\n    return 1 / 0" in failed["error"]
            assert "interpreter.py" not in failed["error"]
            assert (await run("exit(3)"))["error"] == "SystemExit: 3"
            assert "SyntaxError" in (await run("def f(:"))["error"]
            assert "no name of a file" in (await run("1", files={"../a": "x"}))["error"]

            assert (await server.post("/run", {"code": "b = bytearray(2 ** 30)\nwhile True: pass"})).status == 502
            for session, value in (("ada", 20), ("bob", 1)):
                assert (await run(f"x = {value}", f"/sessions/{session}"))["error"] is None
            assert (await run("x + 1", "/sessions/ada"))["value"] == "21"
            assert (await run("x + 1", "/sessions/bob"))["value"] == "2"


async def test_interpreter_takes_a_form_and_ends_endless_code() -> None:
    with open_folder() as folder:
        async with serving(
            folder, str(ROOT / "examples/interpreter"), "--listen", "127.0.0.1:0", RUN_TIMEOUT="1s"
        ) as server:
            form = aiohttp.FormData({"code": "print(open('words.txt').read())"})
            form.add_field("files", b"some words", filename="words.txt")
            assert (await server.request("POST", "/run", data=form)).json()["output"] == "some words\n"
            endless = await server.post("/run", {"code": "try:\n    while True: pass\nexcept SystemExit: pass"})
            assert (endless.status, endless.json()["code"]) == (504, "Timeout")
