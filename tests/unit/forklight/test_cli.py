"""Commands that only ask a server start without one: nothing of a server is imported."""

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from forklight.cli import cli

SERVER = {
    "aiohttp",
    "aio_pika",
    "uvloop",
    "dispatcher.actions",
    "dispatcher.budget",
    "dispatcher.dispatcher",
    "triggers",
}
"""Of the dispatcher, commands use what is shown of it: `machine_state.py`."""
_RUN = """
import contextlib, sys
from forklight.cli import main
with contextlib.suppress(SystemExit):
    main()
print(*sys.modules, file=sys.stderr)
"""


@pytest.mark.parametrize("command", [["--version"], ["versions", "--state", "."], ["logs", "--state", "."]])
def test_no_server_is_imported(command: list[str], tmp_path: Path) -> None:
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[3])!r})\n{_RUN}"
    run = subprocess.run(
        [sys.executable, "-c", code, *command], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    imported = set(run.stderr.split("\n")[-2].split())
    assert {"click", "forklight"} <= imported
    assert not imported & SERVER
    assert ("forklight 0" in run.stdout or "of the checkout" in run.stdout) == (command == ["--version"])
    assert ("no server runs on" in run.stderr) == (command != ["--version"])


@pytest.mark.parametrize("command", [["check", "."], ["invoke", "f", "--state", "."], ["keys", "--state", "."]])
def test_a_configuration_is_read_without_a_server(command: list[str], tmp_path: Path) -> None:
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[3])!r})\n{_RUN}"
    run = subprocess.run(
        [sys.executable, "-c", code, *command], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert not set(run.stderr.split("\n")[-2].split()) & {"aiohttp", "aio_pika", "uvloop", "prometheus_client"}


def test_every_command_is_there_and_named_as_it_is_listed() -> None:
    context = click.Context(cli)
    commands = {name: cli.get_command(context, name) for name in cli.list_commands(context)}
    assert {name: command and command.name for name, command in commands.items()} == {name: name for name in commands}
    modules = {path.stem for path in (Path(__file__).parents[3] / "forklight/commands").glob("*.py")}
    assert commands.keys() - {"dev"} <= modules


@pytest.mark.parametrize(
    ("since", "is_refused"), [("yesterday", True), ("10", True), ("2d", False), ("2026-11-25", False)]
)
def test_since_is_a_duration_or_a_time(since: str, is_refused: bool, tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["logs", "--since", since, "--state", str(tmp_path)])
    assert ("is neither a duration, such as 10m or 2d, nor a time" in result.output) == is_refused
    assert result.exit_code == (2 if is_refused else 1)
