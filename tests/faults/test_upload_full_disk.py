"""An upload that a full disk ends: what has come stays, and it goes on when there is room again."""

import hashlib
import io
import os
from pathlib import Path
from zipfile import ZipFile

import aiohttp
import pytest

from tests.kit.admin import serving
from tests.kit.deploying import Recorder
from tests.kit.disks import small_disk

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a disk")


async def test_an_upload_to_a_full_disk(tmp_path: Path) -> None:
    made = io.BytesIO()
    with ZipFile(made, "w") as archive:
        archive.writestr("app.bin", os.urandom(2_000_000))
    content = made.getvalue()
    path = f"/packages/{hashlib.sha256(content).hexdigest()}"
    state = tmp_path / "state"
    state.mkdir()
    with small_disk(tmp_path / "state/packages", 3) as disk:
        (disk / "filler").write_bytes(bytes(2_000_000))
        async with serving(state, deployer=(deployer := Recorder(state))):
            connector = aiohttp.UnixConnector(str(state / "socket"))
            async with aiohttp.ClientSession("http://localhost", connector=connector) as http:
                headers = {"Upload-Length": str(len(content))}
                async with http.put(f"{path}?offset=0", data=io.BytesIO(content), headers=headers) as response:
                    told = await response.text()
                    assert (response.status, "No space left on device: free some room" in told) == (507, True)
                async with http.head(path) as response:
                    here = int(response.headers["Upload-Offset"])
                assert 0 < here < len(content)
                (disk / "filler").unlink()
                async with http.put(
                    f"{path}?offset={here}", data=io.BytesIO(content[here:]), headers=headers
                ) as response:
                    assert response.status == 201
                assert deployer.store.check() == []
