"""Durations and sizes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forklight.config.units import parse_duration, parse_size

DAY_MS = 86_400_000


@pytest.mark.invariant("I35")
@given(st.integers(min_value=1, max_value=366 * DAY_MS))
def test_a_duration_written_in_parts_is_read_back_in_seconds(total_ms: int) -> None:
    text, rest = "", total_ms
    for unit, unit_ms in (("d", DAY_MS), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, rest = divmod(rest, unit_ms)
        text += f"{count}{unit}" if count else ""
    assert parse_duration(text) == total_ms / 1000


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("10s", 10), ("0s", 0), ("1.5s", 1.5), ("2m", 120), ("1h30m", 5400), ("2d", 172_800)],
)
def test_a_duration(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-1s", "30m1h", "1s1s", "1e3s", ".5s", "\u0661s", "2 weeks"])
def test_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration: write a number and a unit"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("10", 'it has no unit: write "10s" if it is in seconds'),
        ("1 s", 'write "1s"'),
        ("1S", 'write "1s"'),
        ("1s\n", 'write "1s"'),
        ("5 minutes", 'write "5m"'),
        ("1.5 Hours", 'write "1.5h"'),
        ("30secs", 'write "30s"'),
        ("PT1H30M", 'write "1h30m"'),
    ],
)
def test_what_a_duration_most_likely_means_is_told(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=f"is not a duration: {told}$"):
        parse_duration(text)


def test_a_duration_over_a_year_is_refused() -> None:
    assert parse_duration("366d") == 366 * 86400
    with pytest.raises(ValueError, match="too long: the longest duration is 366d"):
        parse_duration("366d1ms")


@pytest.mark.invariant("I35")
@given(st.integers(min_value=0, max_value=1000), st.sampled_from("BKMGT"), st.booleans())
def test_a_size_is_its_number_times_its_unit(number: int, prefix: str, is_binary: bool) -> None:
    unit = "B" if prefix == "B" else prefix + ("iB" if is_binary else "B")
    base = 1024 if is_binary else 1000
    assert parse_size(f"{number}{unit}") == number * base ** "BKMGT".index(prefix)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("0B", 0), ("512MiB", 536_870_912), ("10MB", 10_000_000), ("10 kB", 10_000), ("1.5GiB", 1_610_612_736)],
)
def test_a_size(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "512", "MiB", "-1MB", "1e3B", "1 PB"])
def test_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size: write a number and a unit"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "told"), [("512M", "512MiB"), ("512Mi", "512MiB"), ("1mb", "1MB"), ("1MiB ", "1MiB"), ("1.5 g", "1.5GiB")]
)
def test_what_a_size_most_likely_means_is_told(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=f'is not a size: write "{told}"$'):
        parse_size(text)


def test_a_size_beyond_reason_is_refused() -> None:
    with pytest.raises(ValueError, match="too large"):
        parse_size("9" * 400 + "GiB")
