"""`forklight init`: a small application that works, with tests, in an empty directory."""

from pathlib import Path

import click

from forklight.observe.terminal import say

_FILES = {
    "forklight.toml": """\
[functions.greet]
handler = "greet:handler"
http = "GET /greet/{name}"

[functions.total]
handler = "total:handler"
http = "POST /total"
timeout = "5s"
""",
    "greet.py": """\
def handler(event, context):
    name = event["http"]["params"]["name"]
    context.log.info("greeting %s", name)
    return {"hello": name}
""",
    "total.py": '''\
def handler(event):
    """Add up the numbers of a JSON body such as {"numbers": [1, 2, 3]}."""
    return {"total": sum(event["data"]["numbers"])}
''',
    "test_functions.py": '''\
"""Run with: python -m unittest (or pytest), where Forklight is installed. docs/testing.md tells what else there is."""

import unittest

from forklight.testing import http, run, serving


class FunctionsTest(unittest.TestCase):
    def test_adds_up_the_numbers(self):
        result = run("total:handler", http("POST", "/total", json={"numbers": [1, 2, 3]}))
        self.assertEqual(result.response.json(), {"total": 6})

    def test_a_body_without_numbers_fails(self):
        result = run("total:handler", http("POST", "/total", json={}))
        self.assertEqual(result.failure.code, "KeyError")

    def test_the_whole_application(self):
        with serving(".") as app:
            self.assertEqual(app.get("/greet/Ada").json(), {"hello": "Ada"})
            app.wait_for(function="greet", text="INFO greet: greeting Ada")
''',
    ".forklightignore": "test_*.py\n*.log\n",
}


@click.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False), default=Path(), metavar="[DIR]")
def init(directory: Path) -> int:
    """Write a starter application into an empty directory.

    \b
    Examples:
      forklight init my-app
      cd my-app && forklight dev
    """
    directory.mkdir(parents=True, exist_ok=True)
    found = sorted(path.name for path in directory.iterdir() if not path.name.startswith("."))
    if found:
        raise click.UsageError(f"{directory} is not empty: it has {', '.join(found[:5])}; name a new directory")
    for name, text in _FILES.items():
        (directory / name).write_text(text)
    say(f"Wrote {', '.join(_FILES)}.")
    where = "" if directory == Path() else f" {directory}"
    say(f"Now: forklight dev{where}")
    return 0
