"""What the machine has for us, from files as the kernel writes them."""

from pathlib import Path

import pytest

from sandbox import hardware


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree of control groups, in whose group `pod/app` this process is, by both versions."""
    own = tmp_path / "cgroup"
    own.write_text("4:memory:/pod/app\n1:cpu:/pod/app\n0::/pod/app\n")
    monkeypatch.setattr(hardware, "_OWN", own)
    monkeypatch.setattr(hardware, "_CGROUPS", tmp_path)
    (tmp_path / "pod/app").mkdir(parents=True)
    (tmp_path / "memory/pod/app").mkdir(parents=True)
    return tmp_path


def test_without_a_limit_all_there_is(groups: Path) -> None:
    (groups / "pod/app/memory.max").write_text("max\n")
    (groups / "pod/app/cpu.max").write_text("max 100000\n")
    whole = hardware.memory_bytes()
    assert whole > 64 * 1024 * 1024
    (groups / "pod/app/memory.max").write_text(f"{2 * whole}\n")
    assert hardware.memory_bytes() == whole
    assert hardware.cores() >= 1


@pytest.mark.parametrize("name", ["pod/memory.max", "memory.max", "memory/pod/app/memory.limit_in_bytes"])
def test_the_lowest_limit_around_this_process(groups: Path, name: str) -> None:
    (groups / "pod/app/memory.max").write_text("40000000\n")
    (groups / name).write_text("30000000\n")
    assert hardware.memory_bytes() == 30_000_000


def test_a_part_of_a_processor_is_one(groups: Path) -> None:
    (groups / "pod/cpu.max").write_text("50000 100000\n")
    assert hardware.cores() == 1


def test_pressure(tmp_path: Path) -> None:
    file = tmp_path / "memory"
    file.write_text(
        "some avg10=12.34 avg60=1.00 avg300=0.10 total=99\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
    )
    assert hardware.memory_pressure(file) == 12.34
    assert hardware.memory_pressure(tmp_path / "none") is None
    file.write_text("nonsense\n")
    assert hardware.memory_pressure(file) is None
