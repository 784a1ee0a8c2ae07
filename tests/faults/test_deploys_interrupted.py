"""What interrupts a deploy leaves the release that serves, or the new one, and a store without damage."""

import asyncio
import contextlib
import os
import random
import signal
from pathlib import Path

import aiohttp
import pytest

from forklight.packages.store import PackageStore
from tests.kit.application import application
from tests.kit.deploys import Deploys, write
from tests.kit.disks import fill, small_disk
from tests.kit.rounds import rounds
from tests.kit.served import Server, serving

BASE = "[deploy]\nkeep_versions = 2\n"
KILLS = rounds(2, 30)
LONGEST_S = 0.25
"""A deploy of so small an application has ended by then, unless the machine is busy."""


async def served(server: Server) -> str:
    return (await server.get("/hello")).body.decode()


async def killed_while_deploying(server: Server, folder: Path, text: str, after_s: float) -> set[str]:
    """Kill the server while it deploys. Return what may be served then."""
    before = await served(server)
    deploying = asyncio.ensure_future(Deploys(server).deploy("shop", write(folder / "shop", "hello", text)))
    await asyncio.wait([deploying], timeout=after_s)
    await server.end(signal.SIGKILL)
    with contextlib.suppress(aiohttp.ClientError, AssertionError):
        assert (await deploying)["ok"]
        return {text}  # what was answered, holds
    return {before, text}


@pytest.mark.any_user
@pytest.mark.timeout(600)
async def test_a_kill_at_any_moment_of_a_deploy_leaves_the_old_or_the_new() -> None:
    moments, may_serve = random.Random(1), {""}
    with application(BASE) as folder:
        for number in range(KILLS + 1):
            async with serving(folder) as server:
                deploys = Deploys(server)
                if number:
                    assert await served(server) in may_serve
                    assert "problem" not in (await deploys.applications())["shop"]
                    assert PackageStore(folder / "state").check() == []
                assert (await deploys.deploy("shop", write(folder / "shop", "hello", f"after {number}")))["ok"]
                assert await served(server) == f"after {number}"
                if number < KILLS:
                    after_s = moments.uniform(0, LONGEST_S)
                    may_serve = await killed_while_deploying(server, folder, f"killed {number}", after_s)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a disk")
async def test_a_full_disk_refuses_a_deploy_and_leaves_what_serves_and_the_ways_back() -> None:
    with application(BASE) as folder, small_disk(folder / "disk", 40) as disk:
        disk.chmod(0o755)
        (folder / "state").symlink_to(disk)
        async with serving(folder) as server:
            deploys = Deploys(server)
            assert (await deploys.deploy("shop", write(folder / "shop", "hello", "older")))["ok"]
            assert (await deploys.deploy("shop", write(folder / "shop", "hello", "old")))["ok"]
            new = write(folder / "shop", "hello", "new")
            sha256 = await deploys.upload(new)
            ballast = fill(disk)
            refused = await deploys.deploy("shop", new)
            assert not refused["ok"]
            assert "No space left on device" in refused["error"]
            assert not (disk / f"packages/{sha256}.zip").exists(), "nothing needs it"
            assert await served(server) == "old"
            fill(disk)  # what the package had
            assert (await deploys.change("shop", "aliases/stable?version=1", "PUT"))["ok"]
            for version, text in ((1, "older"), (2, "old"), (1, "older")):
                assert (await deploys.change("shop", f"rollback?version={version}"))["version"] == version
                assert await served(server) == text
            ballast.unlink()
            assert (await deploys.deploy("shop", new))["version"] == 3
            assert await served(server) == "new"
            fill(disk)
            assert (await deploys.change("shop", "remove"))["ok"]
            assert (await server.get("/hello")).status == 404
        assert PackageStore(disk).check() == []
        (folder / "state").unlink()
