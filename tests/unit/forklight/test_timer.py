"""The timer keys: what they become, what is wrong with them in its place, and what `check` warns of."""

from pathlib import Path

import pytest

from forklight.config.configuration import Config, load
from forklight.config.problem import ConfigError

HANDLER = 'handler = "f:h"\n'


def _load(folder: Path, toml: str) -> Config:
    (folder / "forklight.toml").write_text(f"[functions.f]\n{HANDLER}{toml}")
    return load(folder, {})


def _warnings(folder: Path, toml: str) -> list[str]:
    return [str(warning).replace(f"{folder}/forklight.toml:", "") for warning in _load(folder, toml).warnings]


def test_short_forms_take_every_default(tmp_path: Path) -> None:
    (only,) = _load(tmp_path, 'timer = "0 3 * * *"\n').timers
    assert (only.function, only.name, only.schedule.text, only.schedule.timezone) == ("f", "f", "0 3 * * *", "UTC")
    assert (only.missed, only.overlap, only.jitter_s, only.retry) == ("one", "skip", 0.0, 0)

    timers = _load(tmp_path, 'timer = ["@hourly", "0 3 * * *"]\n').timers
    assert [timer.key for timer in timers] == ["f/f", "f/0 3 * * *"]


def test_the_long_form_says_everything(tmp_path: Path) -> None:
    toml = """[[functions.f.timer]]
name = "weekly"
schedule = "0 7 * * MON"
timezone = "Europe/Berlin"
missed = "skip"
overlap = "queue"
jitter = "2s"
retry = 3
[[functions.f.timer]]
every = "90s"
"""
    weekly, often = _load(tmp_path, toml).timers
    assert (weekly.key, weekly.schedule.timezone) == ("f/weekly", "Europe/Berlin")
    assert (weekly.missed, weekly.overlap, weekly.jitter_s, weekly.retry) == ("skip", "queue", 2.0, 3)
    assert often.key == "f/f"


@pytest.mark.parametrize(
    ("toml", "problem"),
    [
        ('timer = "0 0 30 2 *"\n', "3 functions.f.timer: schedule '0 0 30 2 *' never fires"),
        ('timer = "@hourlyy"\n', "3 functions.f.timer: schedule '@hourlyy' is not a schedule: the aliases are @hourly"),
        ('[[functions.f.timer]]\nname = "x"\n', "3 functions.f.timer[0]: takes exactly one of schedule, every and at"),
        (
            '[[functions.f.timer]]\nevery = "1h"\nat = "2030-01-01T00:00"\n',
            "3 functions.f.timer[0]: takes exactly one of schedule, every and at, but has every and at",
        ),
        (
            '[[functions.f.timer]]\nschedule = "@daily"\ntimezone = "Europe/Brlin"\n',
            "3 functions.f.timer[0]: the time zone 'Europe/Brlin' is unknown",
        ),
        (
            '[[functions.f.timer]]\nschedule = "@daily"\noverlap = "alow"\n',
            '5 functions.f.timer[0].overlap: "alow" is not "allow" or "queue" or "skip"',
        ),
        (
            '[[functions.f.timer]]\nschedule = "@daily"\nname = "a/b"\n',
            "3 functions.f.timer[0]: name = 'a/b' is not allowed",
        ),
        ('timer = ["@daily", "@daily"]\n', "3 functions.f.timer: two timers of f are called '@daily'"),
    ],
)
def test_a_mistake_is_told_in_its_place(tmp_path: Path, toml: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, toml)
    (told,) = [str(one).replace(f"{tmp_path}/forklight.toml:", "") for one in caught.value.problems]
    assert told.startswith(problem)


def test_check_warns_of_times_that_do_not_come(tmp_path: Path) -> None:
    (warning,) = _warnings(tmp_path, '[[functions.f.timer]]\nat = "2020-01-01T00:00"\n')
    assert warning == "3 functions.f.timer: the timer 'f' never fires again: its time is over"


def test_check_warns_of_the_change_of_the_clocks(tmp_path: Path) -> None:
    toml = '[[functions.f.timer]]\nschedule = "30 2 * * *"\ntimezone = "Europe/Berlin"\n'
    (warning,) = _warnings(tmp_path, toml)
    assert "02:30 does not exist in Europe/Berlin: runs at 03:00" in warning


@pytest.mark.parametrize("shared", ['[bus]\nurl = "amqp://h/"\n', '[brokers.shop]\nurl = "amqp://h/"\n'])
def test_check_warns_of_timers_that_run_on_every_node(tmp_path: Path, shared: str) -> None:
    assert _warnings(tmp_path, 'timer = "@daily"\n') == []
    (warning,) = _warnings(tmp_path, f'timer = "@daily"\n{shared}')
    assert "the timer 'f' runs on every node that serves this file" in warning
