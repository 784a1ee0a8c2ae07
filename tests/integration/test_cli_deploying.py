"""The commands that deploy, beside a server that says yes: what they send, print and return, and what goes wrong."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from zipfile import ZipFile

import click
import msgspec
import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from forklight.admin.tls import renewing_context
from forklight.cli import cli
from forklight.packages.store import StoreBounds
from forklight.serving.deployment import ApplicationStatus, ReleaseStatus
from tests.kit.admin import Asked, serving
from tests.kit.certificates import make_pair
from tests.kit.deploying import Recorder
from triggers.http.policy.keys import Key, digest, new_key

pytestmark = pytest.mark.any_user

KEY = new_key()
TOML = '[functions.hello]\nhandler = "hello:handler"\nsecrets = { TOKEN = { file = "token.txt" } }\n'
CODE = "def handler(event):\n    return 1\n"


class Finished(NamedTuple):
    """A command that has ended."""

    status: int
    stdout: str
    stderr: str


def finished(arguments: Sequence[str], environ: Mapping[str, str | None]) -> Finished:
    """Run a command in this process; its exceptions mean what they do in `forklight.cli.main`."""
    done = CliRunner().invoke(cli, arguments, env=environ, standalone_mode=False)
    if done.exception is None:
        return Finished(done.return_value or 0, done.stdout, done.stderr)
    assert isinstance(done.exception, click.ClickException), done.exc_info
    return Finished(done.exception.exit_code, done.stdout, done.stderr + done.exception.format_message())


class Shop:
    """An application's folder beside a server, and commands in it."""

    def __init__(self, folder: Path, asked: Asked, deployer: Recorder, *, tls: bool) -> None:
        self.folder, self.asked, self.deployer = folder, asked, deployer
        self.url = f"http{'s' * tls}://localhost:{asked.port}"

    async def run(self, *arguments: str, **environ: str | None) -> Finished:
        variables = {"FORKLIGHT_KEY": KEY, "FORKLIGHT_TO": self.url, "FORKLIGHT_STATE": "", **environ}
        return await asyncio.to_thread(finished, arguments, variables)

    async def deploy(self, *arguments: str, **environ: str | None) -> Finished:
        return await self.run("deploy", str(self.folder), *arguments, **environ)


@asynccontextmanager
async def shop(
    tmp_path: Path, *, tls: ssl.SSLContext | None = None, bounds: StoreBounds | None = None
) -> AsyncIterator[Shop]:
    folder, state = tmp_path / "shop", tmp_path / "state"
    folder.mkdir(parents=True)
    state.mkdir()
    (folder / "forklight.toml").write_text(TOML)
    (folder / "hello.py").write_text(CODE)
    (folder / "token.txt").write_text("the secret is 42")
    (state / "keys").write_bytes(msgspec.json.encode({"ci": Key(sha256=digest(KEY), created="", deploy=True)}))
    deployer = Recorder(state, bounds)
    deployer.go.set()
    async with serving(state, tls=tls, deployer=deployer) as asked:
        yield Shop(folder, asked, deployer, tls=tls is not None)


async def test_a_deploy_says_what_serves_and_how_to_go_back(tmp_path: Path) -> None:
    async with shop(tmp_path) as here:
        done = await here.deploy()
        assert (done.status, done.stdout.splitlines()[0]) == (0, "shop: version 7 serves, before it version 6")
        assert done.stdout.endswith(f"to go back: forklight rollback 6 --name shop --to {here.url}\n")
        [(what, name, sha256, by, canary)] = here.deployer.asked
        assert (what, name, by, canary) == ("deploy", "shop", "ci", 0)
        assert isinstance(sha256, str)
        with ZipFile(here.deployer.store.path(sha256)) as package:
            assert package.namelist() == ["forklight.toml", "hello.py"]
        assert "uploading" in done.stderr
        again = await here.deploy("--canary", "12.5%", "--name", "other", "--json")
        lines = [json.loads(line) for line in again.stdout.splitlines()]
        assert [line.get("step") for line in lines] == ["packing", "packing", "checking", "switching", None]
        assert (lines[-1]["ok"], lines[-1]["version"], again.stderr) == (True, 7, "")
        assert here.deployer.asked[1] == ("deploy", "other", sha256, "ci", 12.5)


async def test_over_tls_the_certificate_must_be_trusted(tmp_path: Path) -> None:
    pair = make_pair(tmp_path)
    other = make_pair(tmp_path, "other")
    async with shop(tmp_path, tls=renewing_context(*pair)) as here:
        trusting = ("--ca", str(pair.certificate))
        assert (await here.deploy(*trusting)).status == 0
        for arguments, said in (
            ((), "has a certificate that is not trusted (self-signed certificate): pass the issuer's with --ca FILE"),
            (("--ca", str(other.certificate)), "has a certificate that is not trusted (self-signed certificate): "),
            (("--to", here.url.replace("https", "http")), "; if [admin] has a certificate, write https://"),
        ):
            done = await here.deploy(*arguments)
            assert (done.status, said in done.stderr) == (1, True), done.stderr
        for file, said in ((str(pair.key), "it has no certificate in PEM form"), ("none", "No such file")):
            done = await here.deploy("--ca", file)
            assert (done.status, f"--ca {file} cannot be used: {said}" in done.stderr) == (2, True), done.stderr
    wrong = make_pair(tmp_path, "wrong", host="shop.example.com", address=False)
    async with shop(tmp_path / "2", tls=renewing_context(*wrong)) as here:
        done = await here.deploy("--ca", str(wrong.certificate))
        assert "has a certificate that is not for 'localhost'" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "environ", "status", "said"),
    [
        ((), {"FORKLIGHT_KEY": "wrong"}, 1, "refused it: the key is not valid; forklight keys list on the server"),
        (
            (),
            {"FORKLIGHT_KEY": ""},
            2,
            "this needs a deploy key: set FORKLIGHT_KEY, or give --key-file FILE; on the server",
        ),
        ((), {"FORKLIGHT_KEY": "a b"}, 2, "the deploy key is empty or has characters that no key has: copy it again"),
        (("--key-file", "/none"), {}, 2, "the key in /none cannot be read: No such file or directory"),
        (("--to", "http://127.0.0.1:1"), {}, 1, "is not there: nothing listens on that port; is the server running"),
        (
            ("--to", "http://example.com"),
            {},
            2,
            "must not cross the network to example.com in the clear: write https://",
        ),
        (("--to", "example.com:9090"), {}, 2, "is no server: write https://HOST:PORT, or unix:/PATH"),
        (("--to", "https://a:b@example.com"), {}, 2, "the key belongs in FORKLIGHT_KEY"),
        (("--to", "https://example.com:x"), {}, 2, "has no port from 0 to 65535"),
        (("--to", "unix:state"), {}, 2, "has no absolute path"),
        (("--to", "unix:/none"), {}, 1, "no server runs at /none: name the control.sock in the state directory"),
        (("--state", "/none"), {}, 1, "no server runs on /none: start one with forklight serve"),
        (("--state", "/none", "--to", "https://example.com"), {}, 2, "both name a server: give one of them"),
        (("--state", "/none", "--ca", "x"), {}, 2, "--ca and --key-file are for a server at --to URL"),
        (("--canary", "100%"), {}, 2, "'100%' is not a percentage between 0 and 100, such as 10%"),
        (("--name", "../x"), {}, 2, "'../x' is not the name of an application"),
    ],
)
async def test_what_is_wrong_with_the_server_or_the_key(
    tmp_path: Path, arguments: tuple[str, ...], environ: dict[str, str], status: int, said: str
) -> None:
    async with shop(tmp_path) as here:
        done = await here.deploy(*arguments, **environ)
        assert (done.status, said in done.stderr) == (status, True), done.stderr
        assert KEY not in done.stdout + done.stderr
        assert here.deployer.asked == []


async def test_a_server_without_deploys_and_one_that_has_no_room(tmp_path: Path) -> None:
    async with shop(tmp_path, bounds=StoreBounds(package_bytes=100)) as here:
        done = await here.deploy()
        assert (done.status, "and the server takes 0.0 MB: leave files out" in done.stderr) == (2, True)
        (here.deployer.store.packages).write_text("in the way")
        done = await here.deploy()
        assert (done.status, "refused it: the store of packages cannot be used" in done.stderr) == (1, True)
        here.asked.state.joinpath("keys").unlink()
        done = await here.deploy(FORKLIGHT_KEY="another")
        assert done.status == 1
        why = "it is older than this command, cannot read its keys, or has no deploy key"
        assert f"cannot be deployed to: {why}" in done.stderr
        done = await here.deploy("--json", "--name", "other", FORKLIGHT_KEY="another")
        result = json.loads(done.stdout.splitlines()[-1])
        assert (done.status, result["ok"], result["application"]) == (1, False, "other")
        assert why in result["error"]


NO_FILE = "there is no forklight.toml in it: name a directory that has one; forklight init writes one"


async def test_what_is_wrong_with_the_application_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    async with shop(tmp_path) as here:
        for name, text, said in (
            ("forklight.toml", TOML + "timout = 3\n", "'line': 4, 'key': 'functions.hello.timout'"),
            ("forklight.toml", TOML.replace("token.txt", "/etc/shadow"), "/etc/shadow is outside of the application"),
            ("hello.py", "def handler(event:\n", "the function hello cannot load"),
            ("hello.py", "def hander(event): ...\n", "the handler 'hello:handler' does not exist"),
        ):
            before = (here.folder / name).read_text()
            (here.folder / name).write_text(text)
            done = await here.deploy("--json")
            (here.folder / name).write_text(before)
            [line] = map(json.loads, done.stdout.splitlines())
            assert (done.status, line["ok"]) == (2, False)
            assert said in str(line["problems"]), line
        done = await here.run("deploy", str(here.folder / "hello.py"), "--json")
        assert "cannot be deployed alone: deploy a directory with a forklight.toml in it" in done.stdout
        (tmp_path / "nothing").mkdir()
        done = await here.run("deploy", str(tmp_path / "nothing"), "--json")
        assert (done.status, json.loads(done.stdout)["problems"][0]["message"]) == (2, NO_FILE)
        (here.folder / "token.txt").unlink()  # it is the server's
        assert (await here.deploy()).status == 0
        assert len(here.deployer.asked) == 1


RELEASES = tuple(
    ReleaseStatus(number=number, package="ab" * 32, at=datetime(2026, 11, 27, tzinfo=UTC), by="ci", size_bytes=9)
    for number in (7, 6)
)
SHOP = ApplicationStatus(name="shop", releases=RELEASES, live=7, before=6, canary=8)
AGAIN = "version 6 serves again, before it version 7, after 0 ms"
ENDED = "version 6 serves all events again, the canary was version 8, after 0 ms"
CHANGES: tuple[tuple[str, str, tuple[object, ...]], ...] = (
    ("rollback", AGAIN, ("rollback", "shop", None, "ci")),
    ("rollback 6", AGAIN, ("rollback", "shop", 6, "ci")),
    ("promote", "version 6 serves all events, before it version 7, after 0 ms", ("promote", "shop", "ci")),
    (
        "abort --reason slow",
        "version 7 serves all events again, the canary was version 8",
        ("abort", "shop", "ci", "slow"),
    ),
    ("alias stable 6", "stable is version 6", ("alias", "shop", "stable", 6)),
    ("alias stable --remove", "the alias stable is removed", ("alias", "shop", "stable", None)),
    ("undeploy", "removed", ("remove", "shop", "ci")),
)


async def test_the_commands_that_change_what_is_deployed(tmp_path: Path) -> None:
    async with shop(tmp_path) as here:

        async def says(line: str) -> tuple[int, str]:
            done = await here.run(*line.split())
            return done.status, done.stdout or done.stderr

        assert await says("versions") == (0, "nothing is deployed: forklight deploy does it\n")
        done = await here.run("versions", "--to", f"unix:{here.asked.state}/socket", FORKLIGHT_KEY="")
        assert (done.status, done.stdout) == (0, "")
        here.deployer.status = (SHOP,)
        status, table = await says("versions")
        rows = [["shop"], ["VERSION", "ROLE"], ["7", "-"], ["6", "before"]]
        assert (status, [line.split()[:2] for line in table.splitlines()]) == (0, rows)
        for line, first, asked in CHANGES:
            status, said = await says(line)
            assert (status, said.splitlines()[0]) == (0, f"shop: {first}")
            assert here.deployer.asked.pop() == asked
            if line == "rollback":
                assert said.endswith(f"to undo it: forklight rollback 7 --name shop --to {here.url}\n")
            status, said = await says(f"{line} --name shopp")
            assert (status, "there is no application 'shopp' on the server (did you mean 'shop'?)" in said) == (2, True)
        here.deployer.status = (replace(SHOP, live=6, before=7),)
        status, said = await says("rollback 6")
        assert said.splitlines()[0] == f"shop: {ENDED}"
        assert said.endswith(f"to serve all events with that: forklight rollback 8 --name shop --to {here.url}\n")
        status, said = await says("rollback stable")
        assert (status, "'stable' is neither a version nor an alias of shop: it has no aliases" in said) == (2, True)
        status, said = await says("alias stable")
        assert (status, "say which version it names, or --remove" in said) == (2, True)
