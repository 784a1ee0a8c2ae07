"""The log on standard output, for people and for programs."""

import json
import re
import signal

import pytest

from tests.kit.application import application, function
from tests.kit.served import serving
from tests.kit.support import until

pytestmark = pytest.mark.any_user
CLOCK = r"^\d\d:\d\d:\d\d\.\d{3} "


async def test_json_is_for_programs() -> None:
    with application(function("talk")) as folder:
        async with serving(folder) as server:
            await server.get("/talk")
            lines = await until(lambda: len(server.entries()) == 3 and server.entries())
    printed, logged, ended = lines
    assert (printed["text"], logged["text"]) == ("printed", "WARNING talk: logged")
    assert {line["invocation"] for line in lines} == {ended["invocation"]}
    assert (ended["function"], ended["trigger"], ended["outcome"], ended["status"]) == ("talk", "http", "ok", 200)
    assert ended["start"] != "warm"
    assert ended["start_ms"] > 0
    assert ended["run_ms"] > 0


async def test_text_is_for_people() -> None:
    with application(function("talk") + function("fail")) as folder:
        async with serving(folder, "--log-format", "text") as server:
            await server.get("/talk")
            await server.get("/fail")
            await until(lambda: "RuntimeError" in server.log)
            lines = server.log.splitlines()
    assert re.search(CLOCK + r"talk [0-9a-f]{8} printed$", lines[0])
    assert re.search(CLOCK + r"talk [0-9a-f]{8} WARNING talk: logged$", lines[1])
    assert re.search(CLOCK + r"talk [0-9a-f]{8} ← http ok 200 \w+, queue [\d.]+ ms, start [\d.]+ ms, run ", lines[2])
    assert re.search(CLOCK + r"fail [0-9a-f]{8} ← http error/RuntimeError 500 .* the secret is 42$", lines[3])
    assert "GET /talk from 127.0.0.1 in" in lines[2]
    assert lines[4] == "  Traceback (most recent call last):"


async def test_what_no_function_answered_is_in_the_record_too() -> None:
    with application(function("talk")) as folder:
        async with serving(folder) as server:
            answer = await server.get("/none?key=secret")
            [entry] = await until(lambda: server.entries(status=404))
            why = await server.run("why", answer.headers["X-Forklight-Id"])
            logs = await server.run("logs", "--id", answer.headers["X-Forklight-Id"])
            metrics = (await server.ask("/metrics")).body.decode()
            assert "secret" not in server.log
    assert (entry["method"], entry["path"], entry["client"], entry["reason"]) == (
        "GET",
        "/none",
        "127.0.0.1",
        "no_route",
    )
    assert entry["invocation"] == answer.headers["X-Forklight-Id"]
    assert re.search(CLOCK + r"forklight [0-9a-f]{8} ← http answered 404 GET /none from 127\.0\.0\.1 in ", logs.stdout)
    assert re.match(r"GET /none [0-9a-f-]{25}: answered 404, over http", why.stdout)
    assert 'forklight_http_requests_total{reason="no_route",status="4xx"} 1.0' in metrics


RECORDS = """
import logging


def handler(event, context):
    context.log.debug("looking")
    try:
        return {}["price"]
    except KeyError:
        context.log.exception("no price", extra={"order": 7})
    print('{"event": "printed", "level": "info"}')
    return "ok"
"""


async def test_a_record_is_one_line_with_its_traceback_and_what_it_was_given() -> None:
    toml = '[functions.records]\nhandler = "records:handler"\nhttp = "/records"\nlog_level = "debug"\n'
    with application(toml, records=RECORDS) as folder:
        async with serving(folder) as server:
            await server.get("/records")
            debug, error, printed, _ = await until(lambda: len(server.entries()) == 4 and server.entries())
            shown = (await server.run("logs", "records")).stdout.splitlines()
    assert (debug["level"], debug["text"]) == ("debug", "DEBUG records: looking")
    assert (error["level"], error["text"], error["extra"]) == ("error", "ERROR records: no price", {"order": 7})
    assert error["traceback"].startswith("Traceback (most recent call last):\n")
    assert error["traceback"].endswith("KeyError: 'price'")
    assert json.loads(printed["text"]) == {"event": "printed", "level": "info"}
    assert re.search(CLOCK + r"records [0-9a-f]{8} ERROR records: no price order=7$", shown[1])
    assert shown[2] == "  Traceback (most recent call last):"


async def test_quiet_leaves_what_functions_write() -> None:
    with application(function("talk")) as folder:
        async with serving(folder, "--quiet") as server:
            await server.get("/talk")
            await server.get("/none")
            await server.get("/talk")
            await until(lambda: len(server.entries()) == 4)
            assert server.entries(trigger="http") == []


async def test_the_trace_of_a_request_goes_through_queues_and_to_what_is_printed() -> None:
    sender = "def handler(event, context):\n    context.send('talks', context.traceparent)\n"
    toml = '[functions.sender]\nhandler = "sender:handler"\nhttp = "/send"\n' + function("talk", queue="talks")
    given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with application(toml, sender=sender) as folder:
        async with serving(folder) as server:
            await server.get("/send", headers={"traceparent": given})
            await server.get("/send")
            talked = await until(lambda: len(found := server.entries(function="talk")) == 6 and found)
            sent = server.entries(function="sender")
    assert sent[0]["trace_id"] == given[3:35]
    for entry in sent:
        assert [line["trace_id"] for line in talked].count(entry["trace_id"]) == 3, "two lines and the invocation"


async def test_lines_are_found_by_id_and_level() -> None:
    with application(function("talk") + function("fail")) as folder:
        async with serving(folder) as server:
            for path in ("/talk", "/talk", "/fail"):
                await server.get(path)
            ended = (await until(lambda: len(found := server.entries(trigger="http")) == 3 and found))[0]
            written = server.entries(invocation=ended["invocation"])
            by_id = await server.run("logs", "--id", ended["invocation"][-8:], "--json")
            wrong = (await server.run("logs", "--level", "error")).stdout
            last = await server.run("logs", "talk", "--level", "warning", "-n", "1")
    assert [json.loads(line) for line in by_id.stdout.splitlines()] == written
    assert wrong.startswith(tuple("0123456789"))
    assert "fail" in wrong.splitlines()[0]
    assert "talk" not in wrong
    assert re.fullmatch(CLOCK + r"talk [0-9a-f]{8} WARNING talk: logged\n", last.stdout)


async def test_why_tells_where_the_time_of_an_invocation_went() -> None:
    with application(function("talk") + function("fail")) as folder:
        async with serving(folder) as server:
            for path in ("/talk", "/talk", "/fail"):
                await server.get(path)
            first, second, _ = await until(lambda: len(found := server.entries(trigger="http")) == 3 and found)
            cold = (await server.run("why", first["invocation"])).stdout
            warm = (await server.run("why", second["invocation"][-8:])).stdout
            slowest = await server.run("why", "--function", "fail", "--json")
            unknown = await server.run("why", "no-such-id")
    assert re.search(r"queue .* ms  there was no instance; (so one more was started for it|it took the first)", cold)
    assert re.search(r"start .* ms  (fork|load|boot): ", cold)
    # Its instance may still be handing over the lines of the first call.
    assert re.search(r"queue .* ms  (talk-\d+, idle for .*, took it at once|none was idle, but one came free)\n", warm)
    assert f"wrote 2 lines: forklight logs --id {second['invocation'][-8:]}\n" in warm
    [told] = json.loads(slowest.stdout)
    assert (told["entry"]["function"], told["entry"]["outcome"], told["reason"]["max_instances"]) == (
        "fail",
        "error/RuntimeError",
        8,
    )
    assert (unknown.status, "no remembered invocation has an id that ends in 'no-such-id'" in unknown.stderr) == (
        2,
        True,
    )


LOUD = """
def handler(event):
    print("\\x1b[2Jcleared")
    if event["http"]["query"]:
        raise RuntimeError("no \\x1b]0;title")
"""
TOML = """
[functions.loud]
handler = "loud:handler"
http = "/loud"
"""


async def test_what_happened_before_a_restart_is_told_after_it_and_without_a_server() -> None:
    with application(TOML, loud=LOUD) as folder:
        async with serving(folder) as server:
            failed = (await server.get("/loud?a=1")).headers["X-Forklight-Id"]
            kept = folder / "state" / "log.jsonl"
            await until(lambda: kept.exists() and b"RuntimeError" in kept.read_bytes())
            server.send(signal.SIGKILL)
            await server.wait()
            alone = await server.run("logs")
            alone_why = await server.run("why", failed[-8:])
            following = await server.run("logs", "-f")
        async with serving(folder) as server:
            before = await server.run("logs")
            await server.get("/loud")
            await until(lambda: server.entries(status=204))
            lines = (await server.run("logs")).stdout.splitlines()
            why = await server.run("why", failed)
            last = (await server.ask("/logs?last=1")).body
            [own] = (await server.ask("/why?id=00000001")).json()
            [slowest] = (await server.ask("/why?function=loud")).json()
            [recent] = (await server.ask(f"/logs?since={own['entry']['time']}")).body.splitlines()
    assert "this is what the last one has kept" in alone.stderr
    assert (following.status, following.stdout) == (1, "")
    assert "no server runs on" in following.stderr
    assert "\x1b" not in alone.stdout + alone_why.stdout
    assert alone.stdout.splitlines()[0].endswith(r"\x1b[2Jcleared")
    assert alone.stdout in before.stdout
    assert re.fullmatch(r"— restarted \d{4}-\d\d-\d\d \d\d:\d\d:\d\d —", before.stdout.splitlines()[-1])
    assert "\n".join(lines).startswith(before.stdout.rstrip("\n")), "nothing twice, nothing missing"
    assert [line.endswith(r"\x1b[2Jcleared") for line in lines[-2:]] == [True, False]
    assert json.loads(last)["outcome"] == json.loads(recent)["outcome"] == "ok"
    assert f"loud {failed}: error/RuntimeError 500, over http, at 20" in why.stdout
    assert "there was no instance" not in why.stdout, "the pool of the server before is not remembered"
    assert why.stdout.splitlines()[0] == alone_why.stdout.splitlines()[0]
    assert own["entry"]["outcome"] == "ok", "of equal ends, that of the present server counts"
    assert slowest == own


async def test_a_log_that_is_not_to_be_kept_is_not() -> None:
    with application(function("talk") + '[log]\nkeep = "0B"\n') as folder:
        (folder / "state").mkdir(exist_ok=True)
        (folder / "state" / "log.jsonl").write_text("from before")
        async with serving(folder) as server:
            await server.get("/talk")
            await until(lambda: server.entries(status=200))
            assert "talk" in (await server.run("logs")).stdout
        assert not list((folder / "state").glob("log*"))
        assert (await server.run("logs")).status == 1
