"""`[machine]`: what a budget may be, and what can never fit into it."""

import os
from pathlib import Path

import pytest

from forklight.config.configuration import load
from forklight.config.machine import MachineMemory
from forklight.config.problem import ConfigError
from sandbox import hardware

MIB = 1024 * 1024
F = '[functions.f]\nhandler = "f:handler"\n'


def problems(folder: Path, toml: str) -> list[str]:
    """What is wrong with it, each with its line."""
    (folder / "forklight.toml").write_text(toml)
    with pytest.raises(ConfigError) as caught:
        load(folder, os.environ)
    return [str(problem).removeprefix(f"{folder}/") for problem in caught.value.problems]


def test_a_budget_that_is_none(tmp_path: Path) -> None:
    size = 'write a number and a unit (B, KB, MB, GB or KiB, MiB, GiB), such as "512MiB" or "10MB"'
    assert problems(tmp_path, F + '[machine]\nmemory = "2gb"\nmax_instances = 0\n') == [
        f'forklight.toml:4 machine.memory: "2gb" is neither a size nor a percentage: {size}; or a part, such as "80%"',
        "forklight.toml:5 machine.max_instances: must be more than zero",
    ]
    for text in ("120%", "0%", "-3%", "half%"):
        part = 'is not a part of the memory: write 1% to 100%, such as "80%", or a size such as "2GiB"'
        found = problems(tmp_path, F + f'[machine]\nmemory = "{text}"\n')
        assert found == [f'forklight.toml:4 machine.memory: "{text}" {part}']
    least = '"1MiB" is less than 32MiB, which one interpreter and one instance may need'
    assert problems(tmp_path, F + '[machine]\nmemory = "1MiB"\n') == [f"forklight.toml:4 machine.memory: {least}"]


def test_what_can_never_fit(tmp_path: Path) -> None:
    toml = F + 'memory = "1GiB"\nreserved = 50\nmax_instances = 60\n[machine]\nmemory = "40MiB"\nmax_instances = 49\n'
    never = "can never be had: all functions together have 40 MiB ([machine] memory); lower this, or raise that"
    many = "is 40 MiB here, but 50 instances are reserved, and each takes 1 MiB at least"
    remedy = "allow more, or reserve fewer"
    assert problems(tmp_path, toml) == [
        f"forklight.toml:3 functions.f.memory: {never}",
        f"forklight.toml:7 machine.memory: {many}: {remedy}",
        f"forklight.toml:8 machine.max_instances: is 49, but 50 instances are reserved: {remedy}",
    ]


def test_instances_that_are_all_reserved(tmp_path: Path) -> None:
    toml = F + 'reserved = 2\n[functions.g]\nhandler = "f:other"\n[machine]\nmax_instances = 2\n'
    told = "is 2, and all are reserved, which leaves none for g: allow more"
    assert problems(tmp_path, toml) == [f"forklight.toml:7 machine.max_instances: {told}"]
    (tmp_path / "forklight.toml").write_text(toml.replace("max_instances = 2", "max_instances = 3"))
    assert load(tmp_path, os.environ).settings.machine.max_instances == 3


def test_a_limit_that_nobody_has_written_is_no_contradiction(tmp_path: Path) -> None:
    """`memory` of a function is 256 MiB by default, which is more than this budget; and a budget is 80% by default."""
    (tmp_path / "forklight.toml").write_text(F + '[machine]\nmemory = "64MiB"\n')
    assert load(tmp_path, os.environ).settings.machine.memory.size_bytes(0) == 64 * MIB
    (tmp_path / "forklight.toml").write_text(F + 'memory = "100000GiB"\n')
    config = load(tmp_path, os.environ)
    assert config.settings.machine.memory.size_bytes(hardware.memory_bytes()) < hardware.memory_bytes()


@pytest.mark.parametrize(("text", "size_bytes"), [("80%", 800 * MIB), ("1%", 10 * MIB), ("2 GiB", 2048 * MIB)])
def test_a_size_or_a_part(text: str, size_bytes: int) -> None:
    assert MachineMemory.parse(text).size_bytes(1000 * MIB) == size_bytes
