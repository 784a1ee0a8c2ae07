"""The container file of examples/: a container cannot be built here, but what it names must be there."""

import json
from pathlib import Path

import click

from forklight.cli import cli

ROOT = Path(__file__).resolve().parents[3]


def instructions() -> list[tuple[str, str]]:
    lines = (ROOT / "examples/container/Containerfile").read_text().splitlines()
    split = [line.partition(" ") for line in lines if line and not line.startswith("#")]
    return [(name, rest) for name, _, rest in split]


def test_what_it_copies_is_in_the_checkout() -> None:
    copied = [rest.split()[0] for name, rest in instructions() if name == "COPY" and "--from" not in rest]
    assert copied == ["requirements/runtime.txt", "."]
    assert all((ROOT / source).exists() for source in copied)


def test_what_it_runs_are_commands() -> None:
    said = dict(instructions())
    assert json.loads(said["ENTRYPOINT"]) == ["forklight"]
    health = json.loads(said["HEALTHCHECK"].partition("CMD ")[2])
    assert {json.loads(said["CMD"])[0], health[1]} <= set(cli.list_commands(click.Context(cli)))
    assert said["USER"] == "forklight"
