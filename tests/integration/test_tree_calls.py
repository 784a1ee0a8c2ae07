"""One event through the tree: handlers, start kinds, bodies, results, and the state of instances."""

import asyncio
import os
import signal

import pytest

from bus import Ok
from sandbox.errors import InstanceGone
from sandbox.guest._forklight.wire import SHARED_BYTES, SHARED_FROM_BYTES
from sandbox.spec import Limits
from tests.kit.accounts import account
from tests.kit.support import Bench, answer, event, failure, is_gone, until

pytestmark = pytest.mark.any_user


@pytest.mark.parametrize("handler", ["handler", "asynchronous"])
async def test_a_handler_gets_the_event_and_its_instance_is_used_again(bench: Bench, handler: str) -> None:
    instance, kind = await bench.tree.start(bench.spec("plain", handler))
    first_event = event(b'{"a": 1}')
    first = answer(await instance.invoke(first_event, start=kind))
    second = answer(await instance.invoke(event(b"2")))

    assert first == {"pid": instance.pid, "calls": 1, "data": {"a": 1}, "id": first_event.id}
    assert (second["pid"], second["calls"], second["data"]) == (instance.pid, 2, 2)


@pytest.mark.parametrize("handler", ["measure", "ameasure"])
async def test_bodies_of_every_size_arrive_whole_one_after_another(bench: Bench, handler: str) -> None:
    """Through the socket, through shared memory at both of its limits, and through the socket again."""
    sizes = (
        SHARED_FROM_BYTES - 1,
        SHARED_FROM_BYTES,
        100_000,
        SHARED_BYTES,
        50_000,
        SHARED_BYTES + 1,
        2_000_000,
        20_000,
    )
    bodies = [bytes([number]) * size for number, size in enumerate(sizes, 1)]
    instance, _ = await bench.tree.start(bench.spec("plain", handler))
    found = [answer(await instance.invoke(event(body, datacontenttype="text/plain"))) for body in bodies]

    assert found == [[size, number, number] for number, size in enumerate(sizes, 1)]


async def test_start_kinds_say_what_had_to_be_made(bench: Bench) -> None:
    kinds = [(await bench.tree.start(bench.spec("plain", name)))[1] for name in ("handler", "handler", "fails")]

    assert kinds == ["boot", "fork", "load"]


async def test_starts_at_the_same_time_share_one_zygote_and_one_template(bench: Bench) -> None:
    started = await asyncio.gather(*(bench.tree.start(bench.spec("plain")) for _ in range(5)))

    assert (len(bench.tree.zygotes()), len(bench.tree.templates())) == (1, 1)
    assert len({instance.pid for instance, _ in started}) == 5
    assert {kind for _, kind in started} == {"boot"}


async def test_an_instance_is_forked_from_its_template(bench: Bench) -> None:
    found = await bench.answer(bench.spec("plain", "parent"))

    assert found["parent"] == bench.tree.templates()[0].pid


async def test_an_outcome_tells_of_the_run(bench: Bench) -> None:
    instance, kind = await bench.tree.start(bench.spec("plain"))
    outcome = await instance.invoke(event(), start=kind, attempt=3, accepted_ns=17)

    assert isinstance(outcome, Ok)
    assert (outcome.start, outcome.attempt, outcome.instance) == ("boot", 3, instance.id)
    times = outcome.timings
    assert times.accepted_ns == 17
    assert times.assigned_ns <= times.started_ns <= times.finished_ns
    assert outcome.peak_rss_kb > 0


async def test_an_exception_is_a_failure_with_the_authors_traceback(bench: Bench) -> None:
    instance, kind = await bench.tree.start(bench.spec("plain", "fails"))
    failed = failure(await instance.invoke(event(), start=kind))
    again = failure(await instance.invoke(event()))

    assert (failed.kind, failed.code, failed.message) == ("error", "ValueError", "no such order: 17")
    assert "in fails" in failed.traceback
    assert "_forklight" not in failed.traceback
    assert again.instance == failed.instance


async def test_big_bodies_go_both_ways(bench: Bench) -> None:
    body = os.urandom(5 * 1024 * 1024)
    instance, _ = await bench.tree.start(bench.spec("plain", "echo"))
    outcome = await instance.invoke(event(body, datacontenttype="application/octet-stream"))

    assert isinstance(outcome, Ok)
    assert outcome.body == body


async def test_a_big_body_that_the_handler_never_sees_whole_is_no_hindrance(bench: Bench) -> None:
    """The instance dies while its event is still being written."""
    instance, _ = await bench.tree.start(bench.spec("plain", "echo"))
    os.kill(instance.pid, signal.SIGSTOP)
    call = instance.invoke(event(bytes(5 * 1024 * 1024)))
    os.kill(instance.pid, signal.SIGKILL)

    failed = failure(await call)
    assert (failed.kind, failed.code) == ("crash", "Signal")


async def test_a_result_over_the_limit_is_an_error_and_the_instance_goes_on(bench: Bench) -> None:
    spec = bench.spec("plain", "grows_result", limits=Limits(max_result_bytes=1000))
    instance, _ = await bench.tree.start(spec)
    failed = failure(await instance.invoke(event(b"1001")))
    fitting = await instance.invoke(event(b"1000"))

    assert (failed.kind, failed.code) == ("error", "ResultTooLarge")
    assert "1001 bytes" in failed.message
    assert isinstance(fitting, Ok)
    assert len(fitting.body) == 1000


async def test_outputs_ride_in_the_outcome(bench: Bench) -> None:
    outcome = await bench.call(bench.spec("plain", "sends"))

    assert isinstance(outcome, Ok)
    assert (outcome.body, [output.kind for output in outcome.outputs]) == (b"sent", ["send", "publish", "spawn"])
    send, publish, spawn = outcome.outputs
    assert (send.name, send.body, send.delay_s) == ("orders", b'{"n":1}', 2.0)
    assert (publish.name, publish.body) == ("news", b"raw")
    assert (spawn.name, spawn.body) == ("other", b"text")


async def test_what_cannot_be_decoded_never_reaches_the_handler(bench: Bench) -> None:
    instance, _ = await bench.tree.start(bench.spec("plain"))
    failed = failure(await instance.invoke(event(b"{")))

    assert (failed.kind, failed.code) == ("error", "Undecodable")


async def test_siblings_have_random_numbers_of_their_own(bench: Bench) -> None:
    spec = bench.spec("plain", "chance")
    found = [await bench.answer(spec) for _ in range(3)]

    for numbers in zip(*found, strict=True):
        assert len(set(numbers)) == 3


async def test_each_instance_has_a_private_folder_that_goes_with_it(bench: Bench) -> None:
    spec = bench.spec("plain", "scratch")
    first, second = await bench.answer(spec), await bench.answer(spec)

    for found in (first, second):
        assert found["tmpdir"] == found["home"]
        assert found["file"].startswith(f"{found['tmpdir']}/")
    names = {os.path.basename(found["tmpdir"]) for found in (first, second)}
    await until(lambda: names.isdisjoint(path.name for path in bench.folders.glob("*/*")))
    assert first["tmpdir"] != second["tmpdir"]


@pytest.mark.invariant("I18")
async def test_an_instance_is_nobody_and_sits_in_the_code(bench: Bench) -> None:
    found = await bench.answer(bench.spec("plain", "identity"))

    assert found == {
        "uid": account().uid,
        "groups": [] if account().switch else os.getgroups(),
        "cwd": str(bench.code / "plain"),
        "umask": 0o077,
        "stdin": "",
    }


async def test_an_instance_holds_no_descriptor_but_its_own(bench: Bench) -> None:
    await bench.tree.start(bench.spec("plain", "fails"))
    await bench.tree.start(bench.spec("plain", "descriptors"))
    found = await bench.answer(bench.spec("plain", "descriptors"))

    others = {int(fd): target for fd, target in found.items() if int(fd) > 2}
    kinds = sorted(target.partition(":")[0] for target in others.values())
    assert found["0"] == "/dev/null"
    assert kinds == ["/memfd", "pipe", "pipe", "socket"], others


async def test_an_idle_instance_that_leaves_ends(bench: Bench) -> None:
    instance, kind = await bench.tree.start(bench.spec("plain"))
    await instance.invoke(event(), start=kind)
    dead = asyncio.Event()
    instance.on_dead = lambda _instance: dead.set()
    instance.leave()
    await dead.wait()

    assert is_gone(instance.pid)
    with pytest.raises(InstanceGone):
        instance.invoke(event())


async def test_a_busy_instance_that_leaves_finishes_first(bench: Bench) -> None:
    instance, kind = await bench.tree.start(bench.spec("plain"))
    call = instance.invoke(event(), start=kind)
    instance.leave()

    assert answer(await call)["calls"] == 1
    assert instance.free_slots == 0


async def test_an_event_nobody_waits_for_runs_to_its_end(bench: Bench) -> None:
    instance, _ = await bench.tree.start(bench.spec("plain"))
    instance.invoke(event()).cancel()
    await until(lambda: instance.free_slots)

    assert answer(await instance.invoke(event()))["calls"] == 2
