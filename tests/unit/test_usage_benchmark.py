"""The benchmark of a day: the day has the shape that it claims, and its picture can be read."""

import statistics
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.usage import by_quarter, picture
from benchmarks.usage_day import DAY_S, FUNCTIONS, Arrival, day
from benchmarks.usage_load import Lived
from benchmarks.usage_systems import LIBRARIES, configuration
from forklight.config.configuration import load

EVENTS = day()


def _times(manner: str) -> list[list[float]]:
    names = [one.name for one in FUNCTIONS if one.manner == manner and one.per_day >= 48]
    return [[event.at_s for event in EVENTS if event.function.name == name] for name in names]


def _variation(times: list[float]) -> float:
    """Of the times between events: their deviation as a multiple of their mean, 1 for a Poisson process."""
    gaps = [after - before for before, after in pairwise(times)]
    return statistics.pstdev(gaps) / statistics.mean(gaps)


def test_most_functions_are_rare_and_few_are_busy() -> None:
    per_day = Counter(event.function.name for event in EVENTS)
    assert len(per_day) == 12
    assert sum(count <= 24 for count in per_day.values()) == 5, "once an hour or less"
    assert sum(count <= 1440 for count in per_day.values()) == 10, "once a minute or less"
    busy = sum(count for count in per_day.values() if count > 1440)
    assert busy / len(EVENTS) == pytest.approx(0.88, abs=0.02)


def test_the_load_follows_the_hour() -> None:
    hours = Counter(int(event.at_s // 3600) for event in EVENTS)
    night, afternoon = sum(hours[hour] for hour in range(2, 6)), sum(hours[hour] for hour in range(14, 18))
    assert 2 < afternoon / night < 4
    assert all(0 <= event.at_s <= DAY_S for event in EVENTS)
    assert [event.at_s for event in EVENTS] == sorted(event.at_s for event in EVENTS)


def test_what_comes_in_bursts_varies_more_than_what_comes_alone() -> None:
    assert all(_variation(times) > 1.5 for times in _times("bursts"))
    assert all(_variation(times) < 1.5 for times in _times("alone"))
    assert all(_variation(times) < 0.01 for times in _times("timer"))


def test_a_seed_brings_the_same_day() -> None:
    assert day() == EVENTS
    assert day(1) != EVENTS


def test_the_configuration_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "forklight.toml").write_text(configuration(Path(sys.executable), tmp_path / "latencies", 480))
    config = load(tmp_path, {})

    assert sorted(config.functions) == sorted(one.name for one in FUNCTIONS)
    assert {one.pool.keep_alive_s for one in config.functions.values()} == {0.125}
    work = (Path(__file__).parents[2] / "benchmarks/peers/usage_work.py").read_text()
    assert all(f"\nimport {name}" in work for name in LIBRARIES)


def test_memory_is_averaged_over_quarters_of_an_hour() -> None:
    lived = Lived([(0.0, 10.0), (0.5, 20.0), (1.0, 40.0), (96.5, 99.0)], 1.0, None, None)
    means = by_quarter(lived, DAY_S / 96)  # a quarter a second

    assert means[:3] == [15.0, 40.0, 40.0], "without a reading, that before it"
    assert (len(means), means[-1]) == (96, 40.0), "what comes after the day is not of the day"


def test_the_picture_is_well_formed_and_refers_to_nothing() -> None:
    days = {"one": [10.0] * 96, "two": [float(part) for part in range(96)]}
    text = picture(days, [Arrival(0.0, FUNCTIONS[0]), Arrival(DAY_S, FUNCTIONS[0])], "a note")
    root = ElementTree.fromstring(text)

    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"one", "two", "a note", "0 MiB", "100 MiB", "24:00"} <= set(texts)
    assert not [word for word in ("href", "url(", "@import", "<image", "<script") if word in text]
    numbers = [
        float(part)
        for line in root.iter("{http://www.w3.org/2000/svg}path")
        for part in line.attrib["d"]
        .replace("M", " ")
        .replace("L", " ")
        .replace("H", " ")
        .replace("V", " ")
        .replace("Z", " ")
        .replace("h", " ")
        .split()
    ]
    assert all(0 <= number <= 760 for number in numbers)
