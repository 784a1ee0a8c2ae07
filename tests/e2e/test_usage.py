"""What a server says of what it costs: `ps --usage`, its metrics, and its last line."""

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.kit.application import application, function
from tests.kit.served import Server, serving

pytestmark = pytest.mark.any_user


async def test_what_it_costs_is_shown_and_survives_a_reload() -> None:
    with application(function("pid") + function("fail")) as folder:
        async with serving(folder, "--quiet") as server:
            for _ in range(3):
                assert (await server.get("/pid")).status == 200
            await server.get("/fail")
            shown = await server.run("ps", "--usage")
            samples = await _samples(server)

            (folder / "forklight.toml").write_text(function("pid") + function("echo"))
            assert (await server.run("reload")).status == 0
            told = (await server.ask("/status?usage=1")).json()
            plain = (await server.ask("/status")).json()
            assert await server.end() == 0
            line = await server.wait_said("^served ")

    titles, *rows = shown.stdout.splitlines()
    headings = ["FUNCTION", "EVENTS", "HELD", "ALWAYS ON", "PEAK", "CPU", "OF CALLS", "STARTS (p50, p99)"]
    assert re.split("  +", titles) == headings
    assert [row.split()[:2] for row in rows[:4]] == [["fail", "1"], ["pid", "3"], ["runtimes", "0"], ["total", "4"]]
    assert re.search(r" 66\.7 % (warm|spare) \(p50 .+s, p99 .+s\), 33\.3 % (fork|load|boot) \(p50 ", rows[1])
    assert "the server itself: " in shown.stdout

    for name in ("cpu_seconds_total", "memory_byte_seconds_total", "always_on_memory_byte_seconds"):
        assert samples[f"forklight_{name}", "pid"] > 0
    assert samples["forklight_most_used_instances", "pid"] == 1
    counts = {key[1]: value for key, value in samples.items() if key[0] == "forklight_start_wait_seconds_count"}
    assert sum(counts.values()) == 4

    usage = told["usage"]
    assert ("usage" in told, plain["usage"]) == (True, None)
    assert [one["name"] for one in usage["functions"]] == ["echo", "pid"]
    assert (usage["removed"]["events"], usage["total"]["events"], usage["used"]) == (1, 4, 2)
    assert usage["total"]["held_mib_s"] > usage["removed"]["held_mib_s"] > 0
    assert line.string.startswith("served 4 events of 2 functions in 0m")
    assert re.search(r": \S+ MiB·s held where always-on would have held \S+ MiB·s; \S+ m?s of CPU; ", line.string)


async def test_a_server_that_ran_nothing_says_nothing_of_it() -> None:
    with application(function("pid")) as folder:
        async with serving(folder) as server:
            assert await server.end() == 0
            assert server.process.stderr is not None
            rest = (await server.process.stderr.read()).decode()
    assert "served" not in rest


async def _samples(server: Server) -> dict[tuple[str, ...], float]:
    """By name and labels, without the buckets."""
    text = (await server.ask("/metrics")).body.decode()
    families = text_string_to_metric_families(text)
    found = [sample for family in families for sample in family.samples if "le" not in sample.labels]
    return {(sample.name, *sorted(sample.labels.values())): sample.value for sample in found}
