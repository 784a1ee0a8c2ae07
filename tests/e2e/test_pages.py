"""Every code block of the README and of docs/ does what the page says; `pages` tells how."""

import re
from pathlib import Path

import pytest

from tests.kit.installed import ROOT
from tests.kit.pages import Wrong, blocks, framed, pages, try_page
from tests.kit.terminal import alike

PAGES = pages(ROOT)
_LINK = re.compile(r"\]\((?!https?:)([^)\s]+)\)")


@pytest.mark.parametrize("name", sorted(PAGES))
async def test_a_page(name: str) -> None:
    await try_page(PAGES[name])


@pytest.mark.parametrize("name", PAGES)
def test_its_links_lead_somewhere(name: str) -> None:
    broken = []
    for target in _LINK.findall(PAGES[name]):
        file, _, heading = target.partition("#")
        path = _folder(name) / file if file else _folder(name) / name
        if not path.exists() or (heading and heading not in _anchors(path.read_text())):
            broken.append(target)
    assert broken == []


def _folder(name: str) -> Path:
    return ROOT if name == "README.md" else ROOT / "docs"


def _anchors(page: str) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_what_is_not_run_is_the_exception() -> None:
    code = [block for name in PAGES for block in blocks(PAGES[name]) if block.language]
    not_run = [block for block in code if block.why is not None]
    assert 0 < 3 * len(not_run) < len(code)


@pytest.mark.parametrize(
    ("page", "why"),
    [
        ("```python\ndef handler(event) return 1\n```\n", "line 1, python: .*invalid|expected"),
        ("```json\n{a: 1}\n```\n", "line 1, json: "),
        ("\n```toml\n[functions.a]\nhandler = 'a:b'\ntimout = '1s'\n```\n", "line 2, toml: .*timout: unknown key"),
        ("```toml\n# forklight.toml\n[functions\n```\n", "line 1, toml: "),
        ("```console\nready\n```\n", "line 1, console: begins with no command"),
        ("```console\n$ false\n```\n", "false .exit status 1"),
        ("```console\n$ echo one\ntwo\n```\n", "echo one .* said:\none"),
        ("```console\n$ forklight serve nothing.py\n```\n", "nothing.py: does not exist"),
        ("```console\n$ echo one &\ntwo\n```\n", "said:\none"),
        ("```nginx\nserver {}\n```\n", "nobody can try nginx"),
        ("<!-- not run: -->\n```console\n$ true\n```\n", "does not say why"),
        ("<!-- not run: why -->\n\nText.\n\n```console\n$ true\n```\n", "a mark stands before no block"),
        ("- a list\n  ```python\n  1\n  ```\n", "a fence is indented"),
    ],
)
async def test_what_is_wrong_is_found(page: str, why: str) -> None:
    with pytest.raises(Wrong, match=f"(?s){why}"):
        await try_page(page)


async def test_what_is_right_goes_through() -> None:
    await try_page("""
<!-- not run: it would delete everything -->
```console
$ rm -rf /
```
```text
# folder/words.txt
some words
```
```console
$ cd folder; WORD=other
$ echo $WORD \\
    and; cat words.txt
other and
# folder/words.txt
some …
```
""")


async def test_dev_serves_what_was_saved_before() -> None:
    await try_page("""
```console
$ forklight init
$ forklight dev
Forklight serves …
$ sed -i 's/"hello"/"good morning"/' greet.py
$ curl http://127.0.0.1:8080/greet/Ada
{"good morning":"Ada"}
$ sed -i 's/return/retrun/' greet.py
$ curl -i http://127.0.0.1:8080/greet/Ada
HTTP/1.1 200 OK
…
x-forklight-stale: greet: load/SyntaxError: …
```
""")


def test_what_a_page_shows() -> None:
    assert alike("a  …  1\nend\n", "a  long text  1  \nend")
    assert alike("…", "anything\nat all")
    assert not alike("a … 1", "a text 2")
    assert not alike("a", "a\nb")
    assert not alike("a.c", "abc")


@pytest.mark.parametrize(
    ("part", "whole"),
    [
        ("[http]\n", '[functions.hello]\nhandler = "hello:handler"\n[http]\n'),
        ('timeout = "1s"\n', '[functions.hello]\nhandler = "hello:handler"\ntimeout = "1s"\n'),
        (
            '[[functions.a.http]]\npath = "/"\n',
            '[functions.a]\nhandler = "hello:handler"\n[[functions.a.http]]\npath = "/"\n',
        ),
        ('[functions.a]\nhandler = "a:b"\n', '[functions.a]\nhandler = "a:b"\n'),
    ],
)
def test_a_part_of_a_configuration_is_completed(part: str, whole: str) -> None:
    assert framed(part) == whole
