"""Functions of Node.js: each instance is a process of its own that loads the function and speaks our frames."""

import shutil

import pytest

from sandbox.errors import LoadFailed
from sandbox.spec import FunctionSpec, Runtime
from tests.kit.support import Bench, answer, event

pytestmark = [
    pytest.mark.any_user,
    pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed"),
]


def spec(bench: Bench, handler: str = "index:handler", **settings: object) -> FunctionSpec:
    """The function of `tests/functions/node`."""
    node = shutil.which("node")
    assert node is not None
    runtime = Runtime(name="web", kind="node", python=bench.runtime.python, command=(node,))
    return bench.spec("node", handler, **({"runtime": runtime, "rehearsal": "none"} | settings))


async def test_it_answers_with_its_log_and_is_started_from_one_template(bench: Bench) -> None:
    instance, kind = await bench.tree.start(spec(bench))
    first = answer(await instance.invoke(event(b'{"n": 1}'), start=kind))
    second = answer(await instance.invoke(event(b'{"n": 2}')))
    other, other_kind = await bench.tree.start(spec(bench))
    third = answer(await other.invoke(event(b'{"n": 3}'), start=other_kind))

    assert (first["got"], first["start"], first["attempt"]) == ({"n": 1}, kind, 1)
    assert (second["got"], second["start"], second["pid"]) == ({"n": 2}, "warm", first["pid"])
    assert (other_kind, third["start"]) == ("fork", "fork")
    assert third["pid"] != first["pid"]
    lines = {line.text: line for line in bench.lines}
    assert lines["called with { n: 1 }"].level == "info"
    assert lines["called with { n: 1 }"].invocation is not None
    for one in (instance, other):
        one.leave()


@pytest.mark.parametrize(
    ("handler", "code", "message"),
    [
        ("index:absent", "HandlerNotFound", r"does not exist: index.js exports handler, sync"),
        ("index:nothing", "HandlerNotFound", "is not a function, it is a number"),
        ("absent:handler", "ImportModuleError", r"there is no absent\.js"),
    ],
)
async def test_what_cannot_be_loaded_says_why(bench: Bench, handler: str, code: str, message: str) -> None:
    with pytest.raises(LoadFailed, match=message) as failed:
        await bench.tree.start(spec(bench, handler))
    assert failed.value.code == code
