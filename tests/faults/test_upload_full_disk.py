"""Uploads that a disk has no room for: refused at their start, and no part of them is kept."""

import hashlib
import io
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from zipfile import ZipFile

import aiohttp
import pytest

from tests.kit.admin import serving
from tests.kit.deploying import Recorder
from tests.kit.disks import fill, small_disk

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a disk")


@contextmanager
def packages(state: Path) -> Iterator[Path]:
    state.mkdir()
    with small_disk(state / "packages", 32) as disk:
        yield disk


@asynccontextmanager
async def client(state: Path, deployer: Recorder) -> AsyncIterator[aiohttp.ClientSession]:
    async with serving(state, deployer=deployer):
        connector = aiohttp.UnixConnector(str(state / "socket"))
        async with aiohttp.ClientSession("http://localhost", connector=connector) as http:
            yield http


def package(content: bytes) -> tuple[bytes, str, dict[str, str]]:
    made = io.BytesIO()
    with ZipFile(made, "w") as archive:
        archive.writestr("app.bin", content)
    whole = made.getvalue()
    return whole, f"/packages/{hashlib.sha256(whole).hexdigest()}", {"Upload-Length": str(len(whole))}


async def kept(http: aiohttp.ClientSession, path: str) -> int:
    async with http.head(path) as response:
        return int(response.headers["Upload-Offset"])


async def test_an_upload_that_does_not_fit_is_refused_at_its_start(tmp_path: Path) -> None:
    with packages(tmp_path / "state") as disk:
        async with client(tmp_path / "state", deployer := Recorder(tmp_path / "state")) as http:
            content, path, headers = package(os.urandom(5_000_000))
            (disk / "filler").write_bytes(bytes(13_000_000))
            for offset in (0, 1_000_000):
                piece = content[offset : offset + 1_000_000]
                async with http.put(f"{path}?offset={offset}", data=io.BytesIO(piece), headers=headers) as response:
                    told = await response.text()
                    assert (response.status, "MB are missing: free some room, then do it again" in told) == (507, True)
                assert await kept(http, path) == 0
            assert f"on the disk of {disk}: it needs 5.0 MB, and 16.8 MB are left to the server's own files" in told
            (disk / "filler").unlink()
            async with http.put(f"{path}?offset=0", data=io.BytesIO(content), headers=headers) as response:
                assert response.status == 201
        assert deployer.store.check() == []


async def test_a_disk_that_fills_up_during_an_upload_keeps_no_part_of_it(tmp_path: Path) -> None:
    with packages(tmp_path / "state") as disk:
        async with client(tmp_path / "state", deployer := Recorder(tmp_path / "state")) as http:
            content, path, headers = package(os.urandom(3_000_000))

            async def pieces() -> AsyncIterator[bytes]:
                yield content[:1_000_000]
                while await kept(http, path) < 500_000:
                    pass
                fill(disk)
                yield content[1_000_000:]

            async with http.put(f"{path}?offset=0", data=pieces(), headers=headers) as response:
                told = await response.text()
                assert (response.status, "No space left on device: free some room" in told) == (507, True)
            assert (await kept(http, path), list(deployer.store.incoming.iterdir())) == (0, [])
            (disk / "ballast").unlink()
            async with http.put(f"{path}?offset=0", data=io.BytesIO(content), headers=headers) as response:
                assert response.status == 201
        assert deployer.store.check() == []
