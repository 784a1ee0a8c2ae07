"""The examples do what they say."""

import os

import pytest

from tests.kit.application import open_folder
from tests.kit.installed import ROOT
from tests.kit.served import serving

pytestmark = pytest.mark.ordinary_user


async def test_hello() -> None:
    with open_folder() as folder:
        async with serving(folder, str(ROOT / "examples/hello")) as server:
            assert (await server.get("/hello/Ada")).json() == {"hello": "Ada"}
            assert (await server.post("/sum", [1, 2, 3])).json() == {"sum": 6}
            first, second = (await server.get("/whoami")).json(), (await server.get("/whoami")).json()
            assert (second["process"], second["calls"], second["start"]) == (first["process"], 2, "warm")
            assert first["user"] == os.getuid() or os.getuid() == 0 != first["user"]
