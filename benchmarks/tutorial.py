"""`python -m benchmarks.tutorial`: how long the commands of docs/tutorial.md take, and that they say what it shows.

They are typed as fast as they end. Not counted: the reading, the installation, and beside `dev` the wait before each
command until what was saved is served.
"""

import asyncio
import re
import sys
import time

from benchmarks.tree import machine
from tests.kit import installed
from tests.kit.pages import blocks, commands, try_block
from tests.kit.terminal import open_terminal

_SECTION = re.compile(r"^## (.+)\n((?:(?!## ).*\n)*)", re.MULTILINE)


async def measure(page: str) -> list[tuple[str, list[float]]]:
    """Return the sections, each with the seconds of its commands. Raises Unlike for a command that says otherwise."""
    sections = []
    async with open_terminal() as terminal:
        for heading, text in _SECTION.findall(page):
            taken_s = []
            for block in blocks(text):
                if block.why is not None:
                    continue
                if block.language != "console":
                    await try_block(block, terminal)
                    continue
                for command in commands(block.text):
                    await terminal.settle()
                    begin_s = time.monotonic()
                    await terminal.enter(*command)
                    taken_s.append(time.monotonic() - begin_s)
            sections.append((heading, taken_s))
    return sections


def main() -> None:
    print(machine(), file=sys.stderr)
    installed.command()  # makes the environment, which is not counted
    page = (installed.ROOT / "docs/tutorial.md").read_text()
    print("| section | commands | together | the longest |\n|---|---|---|---|")
    all_s: list[float] = []
    for heading, taken_s in asyncio.run(measure(page)):
        if taken_s:
            print(_row(heading, taken_s))
        all_s += taken_s
    print(_row("all", all_s))


def _row(name: str, taken_s: list[float]) -> str:
    return f"| {name} | {len(taken_s)} | {sum(taken_s):.1f} s | {max(taken_s):.1f} s |"


if __name__ == "__main__":
    main()
