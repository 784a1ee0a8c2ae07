"""Every line that a function writes, by whatever means, belongs to an invocation and counts towards its limit."""

import pytest

from sandbox.spec import Limits
from tests.kit.support import Bench, answer, event, until

pytestmark = pytest.mark.any_user


async def test_all_ways_to_write_end_in_the_log_of_the_invocation(bench: Bench) -> None:
    instance, _ = await bench.tree.start(bench.spec("output"))
    first, second = event(), event()
    for one in (first, second):
        await instance.invoke(one)

    for one in (first, second):
        texts = [line.text for line in bench.lines if line.invocation == one.id]
        for word in ("by print", "to stderr", "by write", "by C", "by a child", "by a thread", "without an end"):
            assert texts.count(word) == 1, texts
        for word in ("by logging", "by the context", "UserWarning: by warnings"):
            assert sum(word in text for text in texts) == 1, texts
        assert all(line.instance == instance.id for line in bench.lines if line.invocation == one.id)


async def test_what_the_import_writes_is_the_templates(bench: Bench) -> None:
    await bench.call(bench.spec("output"))

    (line,) = [line for line in bench.lines if line.text == "at import"]
    assert (line.invocation, line.instance.partition("-")[0]) == (None, "template")


async def test_beyond_the_limit_lines_are_dropped_and_a_marker_tells(bench: Bench) -> None:
    instance, _ = await bench.tree.start(bench.spec("output", "much", limits=Limits(log_bytes=20_000)))
    first, second = event(b"1000"), event(b"3")
    await instance.invoke(first)
    await instance.invoke(second)

    texts = [line.text for line in bench.lines if line.invocation == first.id]
    assert texts[:100] == [f"{n:06} {'x' * 93}" for n in range(100)]
    allowed = "a call may write 20000 (`log`), and each line counts 100 more"
    assert texts[100:] == [f"[forklight] 90900 more bytes of log dropped: {allowed}"]
    assert len([line for line in bench.lines if line.invocation == second.id]) == 3


async def test_a_line_without_end_is_cut(bench: Bench) -> None:
    one = event(b"200000")
    instance, _ = await bench.tree.start(bench.spec("output", "long_line"))
    await instance.invoke(one)

    texts = [line.text for line in bench.lines if line.invocation == one.id]
    assert "".join(texts) == "y" * 200_000
    assert max(map(len, texts)) <= 64 * 1024


async def test_empty_lines_count_too(bench: Bench) -> None:
    one = event(b"60000")
    instance, _ = await bench.tree.start(bench.spec("output", "empty_lines", limits=Limits(log_bytes=1000)))
    await instance.invoke(one)

    assert len([line for line in bench.lines if line.invocation == one.id]) == 11


async def test_what_comes_after_the_reply_is_the_instances(bench: Bench) -> None:
    instance, _ = await bench.tree.start(bench.spec("output", "afterwards"))
    one = event()
    await instance.invoke(one)

    late = await until(lambda: [line for line in bench.lines if line.text == "late" and line.invocation is None])
    assert {line.instance for line in late} == {instance.id}


async def test_a_call_without_output_has_no_log(bench: Bench) -> None:
    one = event()
    instance, _ = await bench.tree.start(bench.spec("plain"))
    answer(await instance.invoke(one))

    assert [line for line in bench.lines if line.invocation == one.id] == []
