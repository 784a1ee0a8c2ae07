"""Whole configurations: what they become. What is wrong with one is pinned in tests/integration/test_cli_check.py."""

import os
import sys
import time
from pathlib import Path

import pytest

from dispatcher.settings import PoolSettings
from forklight.config.configuration import load
from forklight.config.problem import ConfigError
from forklight.state.users import unprivileged_user
from sandbox.spec import Limits, Runtime

MIB = 1024 * 1024


def test_everything_a_function_can_say(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "forklight.toml").write_text(
        f"""
[defaults]
timeout = "10s"
memory = "64MiB"
[functions.thumbnail]
code = "photos"
handler = "photos:thumbnail"
runtime = "imaging"
timeout = "1m30s"
grace = "0s"
init_timeout = "5s"
template_memory = "2GiB"
open_files = 64
max_result = "1MB"
hooks = {{ init = "photos:begin", stop = "photos:end" }}
[runtimes.imaging]
python = "{sys.executable}"
preload = ["json"]
env = {{ OMP_NUM_THREADS = "2" }}
"""
    )
    config = load(tmp_path, {})
    function = config.functions["thumbnail"]
    settings = function.settings
    assert (function.name, function.code, settings.handler) == ("thumbnail", tmp_path / "photos", "photos:thumbnail")
    assert (settings.timeout_s, settings.grace_s, settings.init_timeout_s) == (90.0, 0.0, 5.0)
    assert settings.limits == Limits(
        memory_bytes=64 * MIB, template_memory_bytes=2048 * MIB, open_files=64, max_result_bytes=1_000_000
    )
    assert (settings.hooks.init, settings.hooks.after_fork, settings.hooks.stop) == (
        "photos:begin",
        None,
        "photos:end",
    )
    assert config.path == tmp_path / "forklight.toml"
    assert config.user == unprivileged_user()
    assert config.runtimes == {
        "imaging": Runtime(
            name="imaging",
            python=Path(sys.executable),
            prefix=Path(sys.prefix),
            preload=("json",),
            env={"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        )
    }
    assert config.interpreters["imaging"].is_ours


def test_the_defaults_are_those_of_the_design(tmp_path: Path) -> None:
    (tmp_path / "forklight.toml").write_text('[functions.f]\nhandler = "f:h"')
    config = load(tmp_path / "forklight.toml", {})
    function = config.functions["f"]
    settings = function.settings
    assert function.code == tmp_path
    assert (settings.timeout_s, settings.grace_s, settings.init_timeout_s) == (60.0, 0.5, 30.0)
    assert settings.limits == Limits(
        memory_bytes=256 * MIB, template_memory_bytes=1024 * MIB, open_files=1024, max_result_bytes=6 * MIB
    )
    assert function.pool == PoolSettings(max_instances=8, max_waiting=2048, max_wait_s=60.0)
    assert config.runtimes["default"].python == Path(sys.executable)
    assert config.warnings == ()


@pytest.mark.parametrize(
    ("keys", "max_wait_s"),
    [('timeout = "1s"', 60.0), ('timeout = "15m"', 900.0), ('timeout = "15m"\nmax_wait = "2s"', 2.0)],
)
def test_an_event_waits_a_minute_or_as_long_as_a_call_may_take(tmp_path: Path, keys: str, max_wait_s: float) -> None:
    (tmp_path / "forklight.toml").write_text(f'[functions.f]\nhandler = "f:h"\n{keys}')
    assert load(tmp_path / "forklight.toml", {}).functions["f"].pool.max_wait_s == max_wait_s


@pytest.mark.parametrize(("keep", "keep_bytes"), [("0B", 0), ("1MiB", MIB), ("1GiB", 1024 * MIB)])
def test_how_much_of_the_log_is_kept(tmp_path: Path, keep: str, keep_bytes: int) -> None:
    (tmp_path / "forklight.toml").write_text(f'[functions.f]\nhandler = "f:h"\n[log]\nkeep = "{keep}"')
    assert load(tmp_path, {}).settings.log.keep_bytes == keep_bytes


def test_less_than_one_long_line_of_the_log_cannot_be_kept(tmp_path: Path) -> None:
    (tmp_path / "forklight.toml").write_text('[functions.f]\nhandler = "f:h"\n[log]\nkeep = "64KiB"')
    with pytest.raises(ConfigError, match=r"forklight\.toml:3 log: keep must be at least 1MiB"):
        load(tmp_path, {})


def test_an_instance_cannot_be_retired_after_it_was_killed(tmp_path: Path) -> None:
    (tmp_path / "forklight.toml").write_text(
        '[functions.f]\nhandler = "f:h"\nmemory = "64MiB"\nretire_memory = "64MiB"'
    )
    said = r"forklight\.toml:1 functions\.f: retire_memory must be less than memory \(64 MiB\).*\"48MiB\""
    with pytest.raises(ConfigError, match=said):
        load(tmp_path, {})


def test_a_single_file_needs_no_configuration(tmp_path: Path) -> None:
    file = tmp_path / "hello.py"
    file.write_text("def handler(event): ...")
    config = load(file, {})
    function = config.functions["hello"]
    assert (function.code, function.settings.handler, config.path) == (file, "hello:handler", file)
    assert list(config.runtimes) == ["default"]


@pytest.mark.parametrize("name", ["Hello.py", "my-file.py", "queue.py"])
def test_a_single_file_with_a_name_that_cannot_be_a_functions_or_a_modules(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(ConfigError, match="cannot be a function's file: rename it"):
        load(tmp_path / name, {})


def test_a_user_for_root_is_a_warning_for_others_and_none_for_that_user(tmp_path: Path) -> None:
    (tmp_path / "forklight.toml").write_text('[machine]\nuser = "nobody"\n[functions.f]\nhandler = "f:h"')
    config = load(tmp_path, {})
    if os.geteuid() == 0:
        assert config.user is not None
        assert config.user.name == "nobody"
    else:
        assert config.user is None
    is_warned = os.geteuid() != 0 and unprivileged_user() is None and os.getuid() != 65534
    warning = "forklight.toml:2 machine.user: has no effect: only root can run functions as another user"
    assert [str(w).replace(f"{tmp_path}/", "") for w in config.warnings] == [warning] * is_warned


def test_reading_takes_time_in_proportion_to_the_number_of_functions(tmp_path: Path) -> None:
    """Four times as many take four times as long, not sixteen times."""

    def took_s(count: int) -> float:
        tables = (f'[functions.f{n}]\nhandler = "f:handler"\nhttp = "/f{n}"\n' for n in range(count))
        (tmp_path / "forklight.toml").write_text("".join(tables))
        begin = time.process_time()
        load(tmp_path, {})
        return time.process_time() - begin

    took_s(10)
    # The best of three: a collection of garbage costs more than reading does.
    assert min(took_s(800) for _ in range(3)) / min(took_s(200) for _ in range(3)) < 9
