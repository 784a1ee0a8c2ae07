"""docs/testing.md: its application is served, its tests pass, its types are found right."""

import asyncio
import re
import subprocess
from pathlib import Path

import pytest

from tests.e2e import installed
from tests.e2e.application import open_folder
from tests.e2e.served import ENVIRON

pytestmark = pytest.mark.ordinary_user

BLOCK = re.compile(r"^```(?:python|toml)\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


async def test_every_block_does_what_it_says() -> None:
    page = (installed.ROOT / "docs/testing.md").read_text()
    blocks = dict(BLOCK.findall(page))
    assert len(blocks) == page.count("```") / 2, "each block names its file, another one each"
    with open_folder() as folder:
        for name, code in blocks.items():
            (folder / name).write_text(code)
        tests = sum(code.count("def test_") for code in blocks.values())
        assert f"{tests} passed" in await _output("pytest", "-c", "/dev/null", "--rootdir", ".", cwd=folder)
        typed = ("mypy", "--config-file", "", "--cache-dir", "/dev/null", "--strict")
        assert "Success" in await _output(*typed, "typed.py", cwd=folder)
        names = [name for name in blocks if name.startswith("test_")]
        checked = await _output(*typed, "--allow-untyped-defs", "--check-untyped-defs", *names, cwd=folder)
        assert f"no issues found in {len(names)} source files" in checked, checked


async def _output(module: str, *arguments: str, cwd: Path) -> str:
    """What a module of the interpreter prints that has the installed Forklight."""
    command = [str(installed.command().with_name("python")), "-m", module, *arguments]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, env=ENVIRON, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(), 50)
    return output.decode()
