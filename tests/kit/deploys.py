"""Applications, their packages, and deploys of these to a running server, over its control socket."""

import json
from pathlib import Path
from typing import Any

import aiohttp

from forklight.packages.package import build
from tests.kit.served import Server

APPLICATION = """[functions.{name}]
handler = "{name}:handler"
http = "GET /{name}"
{more}
"""
CODE = """def handler(event, context):
    return {answer!r}
"""


def write(folder: Path, name: str, answer: str, *, toml: str = "", more: str = "", code: str = CODE) -> Path:
    """Write an application with one function, whose answer at `GET /name` is `answer`. Return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "forklight.toml").write_text(toml or APPLICATION.format(name=name, more=more))
    (folder / f"{name}.py").write_text(code.format(answer=answer))
    return folder


def package(folder: Path) -> tuple[str, bytes]:
    """Return the hash and the bytes of the package of an application."""
    target = folder.parent / f"{folder.name}.zip"
    built = build(folder, target, also=[folder / "forklight.toml"])
    return built.sha256, target.read_bytes()


class Deploys:
    """A client of the admin API of one server."""

    def __init__(self, server: Server) -> None:
        self.server = server

    async def ask(self, method: str, resource: str, body: bytes = b"", **headers: str) -> bytes:
        connector = aiohttp.UnixConnector(str(self.server.state / "control.sock"))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.request(method, f"http://localhost{resource}", data=body or None, headers=headers) as response,
        ):
            answer = await response.read()
            assert response.status < 400, answer
            return answer

    async def upload(self, folder: Path) -> str:
        sha256, content = package(folder)
        await self.ask("PUT", f"/packages/{sha256}?offset=0", content, **{"Upload-Length": str(len(content))})
        return sha256

    async def deploy(self, application: str, folder: Path, *, canary: float = 0) -> Any:
        """Deploy, and return the last line of the answer."""
        return (await self.lines(application, folder, canary=canary))[-1]

    async def lines(self, application: str, folder: Path, *, canary: float = 0) -> list[Any]:
        """Deploy, and return all lines of the answer."""
        sha256 = await self.upload(folder)
        query = f"?package={sha256}" + (f"&canary={canary}" if canary else "")
        answer = await self.ask("POST", f"/applications/{application}/deploy{query}")
        return [json.loads(line) for line in answer.splitlines() if line]

    async def change(self, application: str, what: str, method: str = "POST") -> Any:
        """`rollback?version=1`, `promote`, `abort`, `remove`, or PUT and DELETE of `aliases/NAME`."""
        return json.loads(await self.ask(method, f"/applications/{application}/{what}"))

    async def applications(self) -> dict[str, Any]:
        return {one["name"]: one for one in json.loads(await self.ask("GET", "/applications"))}
