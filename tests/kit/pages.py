"""Pages of the documentation whose code blocks are tried, each in the order of the page and in a folder of its own.

- A block whose first line is `# name`, or `// name`, is that file.
- Python compiles, JSON is JSON. TOML without a name is accepted by `forklight check`, once the functions it speaks of
  have handlers.
- In a `console` block each line that begins with `$ ` is a command (it goes on in the next line after a backslash), and
  what follows is its output: `…` stands for anything, and where nothing follows, anything may be said, but the command
  has to succeed. `Terminal` tells how servers run; the address in the page is 127.0.0.1:8080.
- A block in an HTML comment is tried like any other: that is the place of what a reader has already.
- `<!-- not run: why -->` before a block leaves it alone. A block without a language is no code.
"""

import json
import re
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from forklight.config.configuration import load
from forklight.config.problem import ConfigError
from tests.kit.terminal import Terminal, Unlike, open_terminal

WITHOUT_COMMENTS = {"html", "json"}
"""Languages in which `# name` is no comment: that line is left out of the file."""
_BLOCK = re.compile(
    r"^(?:<!-- not run:(?P<why>[^\n]*)-->\n\n?)?^```(?P<language>\S*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_FENCE = re.compile(r"^\s*```", re.MULTILINE)
_MARK = re.compile(r"^<!-- not run", re.MULTILINE)
_NAME = re.compile(r"(?:#|//) (\S+\.\w+|\.\w+)\n")
_COMMAND = re.compile(r"^\$ ((?:.*\\\n)*.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
_VARIABLE = re.compile(r"""(?<=\$\{)\w+(?=\})|(?<=env = ")\w+(?=")""")
_TABLE_FIRST = re.compile(r"(?:\s*(?:#.*)?\n)*\[")


class Block(NamedTuple):
    """A code block and the line it begins at. `why`: it is not run, and that is the reason, which may be missing."""

    line: int
    language: str
    text: str
    why: str | None

    @property
    def file(self) -> str | None:
        """The name of the file that it is."""
        found = _NAME.match(self.text)
        return found[1] if found and self.language != "console" else None


class Command(NamedTuple):
    """What is typed, and the output that the page shows."""

    typed: str
    shown: str


class Wrong(Exception):
    """A block is not what it says: where, and why."""


def blocks(page: str) -> list[Block]:
    """Every block of a page. Raises Wrong for a fence or a mark that is none of a block's."""
    found = [
        Block(page.count("\n", 0, match.start("language")) + 1, match["language"], match["text"], match["why"])
        for match in _BLOCK.finditer(page)
    ]
    if len(_FENCE.findall(page)) != 2 * len(found):
        raise Wrong("a fence is indented, or not closed")
    if len(_MARK.findall(page)) != sum(block.why is not None for block in found):
        raise Wrong("a mark stands before no block, or is not of the form <!-- not run: why -->")
    return found


def commands(text: str) -> Iterator[Command]:
    """What a console block says is typed. Raises ValueError."""
    if not text.startswith("$ "):
        raise ValueError('begins with no command: a line such as "$ forklight check"')
    for typed, shown in _COMMAND.findall(text):
        yield Command(typed, shown)


async def try_page(page: str, folder: Path | None = None) -> None:
    """Try all of its blocks, in a copy of `folder` if it is about one. Raises Wrong for the first that fails."""
    async with open_terminal() as terminal:
        if folder is not None:
            leave_out = shutil.ignore_patterns("__pycache__", ".env", ".forklight")
            shutil.copytree(folder, terminal.folder, ignore=leave_out, dirs_exist_ok=True)
        for block in blocks(page):
            try:
                if block.why is None:
                    await try_block(block, terminal)
                elif not block.why.strip():
                    raise ValueError("is not run, and does not say why")
            except (Unlike, ValueError, SyntaxError) as error:
                raise Wrong(f"line {block.line}, {block.language}: {error}") from error


async def try_block(block: Block, terminal: Terminal) -> None:
    """Raises Unlike, ValueError or SyntaxError."""
    if block.file is not None:
        code = block.text.partition("\n")[2] if block.language in WITHOUT_COMMENTS else block.text
        path = terminal.folder / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
    match block.language:
        case "console":
            for command in commands(block.text):
                await terminal.type(*command)
        case "python":
            compile(block.text, block.file or "block", "exec")
        case "toml" if block.file is None:
            _check(block.text, terminal)
        case "toml":
            tomllib.loads(block.text)
        case "json" if block.file is None:
            json.loads(block.text)
        case language if language and block.file is None:
            raise ValueError(f"nobody can try {language}: write <!-- not run: why --> before it")


def _check(text: str, terminal: Terminal) -> None:
    """What it names has to be in the page's folder. Raises ValueError."""
    part = terminal.folder / "part.toml"
    part.write_text(framed(text))
    try:
        load(part, dict.fromkeys(_VARIABLE.findall(text), "value"), terminal.state)
    except ConfigError as error:
        raise ValueError(str(error)) from error
    finally:
        part.unlink()


def framed(text: str) -> str:
    """A part of a configuration as a whole one: keys without a table are a function's, and each has a handler."""
    if not _TABLE_FIRST.match(text):
        text = f"[functions.hello]\n{text}"
    functions = tomllib.loads(text).get("functions") or {"hello": {}}
    for name, table in functions.items():
        if "handler" not in table:
            header, handler = f"[functions.{name}]\n", 'handler = "hello:handler"\n'
            text = text.replace(header, header + handler, 1) if header in text else header + handler + text
    return text


def pages(root: Path) -> dict[str, str]:
    """The pages of a checkout by their names."""
    return {path.name: path.read_text() for path in (root / "README.md", *sorted((root / "docs").glob("*.md")))}
