"""Startup snapshots of Node.js: the function is loaded once, and its instances begin with that heap."""

import json
from typing import Any

import pytest

from sandbox.errors import LoadFailed
from sandbox.spec import MIB, FunctionSpec, Limits
from tests.kit.levels import contained, levels
from tests.kit.nodes import has_snapshots, node_runtime
from tests.kit.support import Bench, answer, event, failure, until

pytestmark = [
    pytest.mark.any_user,
    pytest.mark.skipif(not has_snapshots(), reason="there is no Node.js that has startup snapshots"),
]


def spec(bench: Bench, handler: str, **settings: Any) -> FunctionSpec:
    """A function of `tests/functions/node/kept` with a startup snapshot."""
    runtime = node_runtime(bench.runtime.python, snapshot=settings.pop("snapshot", True))
    fixed = {"name": handler.replace(":", "-"), "runtime": runtime, "rehearsal": "none", "env": {"TOKEN": "secret"}}
    return bench.spec("node/kept", handler, **(fixed | settings))


async def test_it_is_loaded_once_and_instances_begin_with_its_heap(bench: Bench) -> None:
    for level in levels():
        bench.lines.clear()
        function = spec(bench, "index:handler", containment=contained(level), name=f"at-{level.value}")
        first, second = [await bench.answer(function, 3) for _ in range(2)]

        assert first["started"] == second["started"], "what top-level code has computed"
        assert first["token"] == "secret"
        drawn = [first["started"][1], *first["now"], *second["now"]]
        assert len(set(map(str, drawn))) == len(drawn), "all that is drawn differs"
        for found in (first, second):
            assert found["env"][0] == "secret"
            assert (found["argv"], found["twice"], found["lazy"][-11:], found["imported"]) == (2, 6, "lib/lazy.js", 7)
            assert (found["builtin"], found["waited"], found["time"]) == ("function", "timers fire", True)
            assert "kept/index.js:" in found["at"]
        assert first["env"][1] != second["env"][1], "its home is that of the instance"
        assert bench.texts() == ["loads"]


async def test_what_top_level_code_changes_of_its_process_is_so_in_instances(bench: Bench) -> None:
    plain, kept = [await bench.answer(spec(bench, "around:handler", name=f"s{on:d}", snapshot=on)) for on in (0, 1)]
    assert plain == kept
    assert (plain["env"], plain["place"]) == (["here", 9, False, None], ["/tmp", 0o27, "around", 0])
    assert await bench.answer(spec(bench, "around:forks")) == "a child of an instance"


async def test_errors_and_timeouts_tell_their_place(bench: Bench) -> None:
    failed = await bench.failure(spec(bench, "index:fails"))
    assert (failed.code, "kept/index.js:" in failed.traceback, "snapshot.js" in failed.traceback) == (
        "TypeError",
        True,
        False,
    )
    overdue = await bench.failure(spec(bench, "index:spins", timeout_s=0.3, grace_s=5.0))
    assert (overdue.code, "at exports.spins " in overdue.traceback) == ("Timeout", True)


async def test_several_calls_overlap_in_an_instance(bench: Bench) -> None:
    instance, _ = await bench.tree.start(spec(bench, "index:handler", concurrency=2), ahead=True)
    found = [answer(await instance.invoke(event(json.dumps(n).encode()))) for n in (1, 2)]
    assert [one["twice"] for one in found] == [2, 4]
    instance.leave()


REFUSED = {
    "http": "a startup snapshot cannot hold the module 'http': http.js loads it; load it in the handler, or leave out",
    "caught": "cannot hold the module 'https': lib/deep.js loads it; load it in the handler, or leave out snapshot",
    "es": "a startup snapshot cannot hold the ES module es.mjs: write CommonJS, or leave out snapshot",
    "library": "the ES module only-es: library.js loads it; load it in the handler, or leave out snapshot",
    "addon": "cannot hold the addon addon.node: addon.js loads it; load it in the handler, or leave out snapshot",
    "goes_on": "a startup snapshot cannot hold a timer: goes_on.js:1 makes it; make it in the handler, or",
    "ticks": "a startup snapshot cannot hold a timer: ticks.js:1 makes it; make it in the handler, or",
    "late": "a startup snapshot cannot hold a timer: late.js:1 makes it; make it in the handler, or",
    "listens": "cannot hold a listener of a signal: listens.js:1 makes it; make it in the handler, or",
    "server": "a startup snapshot cannot hold a server: .* makes it; make it in the handler, or",
    "child": "a startup snapshot cannot hold a child process: child.js:1 makes it; make it in the handler, or",
    "file": "cannot hold the open file file.js: close it, or open it in the handler, or leave out snapshot",
    "lacks": "SharedArrayBuffer is not defined .Node.js lacks some features while it makes a startup snapshot, such as",
    "measures": r"^Node.js could not write a startup snapshot \((SIG\w+|exit code 14)\): its heap was full, or",
    "raises": "^loading the module 'raises': Error: no database today$",
    "exits": "loading it for its startup snapshot did not return: it ended its process with exit code 7$",
    "leaves": "loading it for its startup snapshot did not return: it ended its process with exit code 0$",
    "holds": "loading it for its startup snapshot did not return: it ended its process with exit code 3$",
    "crashes": r"^Node.js could not write a startup snapshot \(SIG\w+\): .* such as a hash, a format of Intl",
    "fakes": "^its top-level code writes to a descriptor that it has not opened, 3: leave that out$",
    "absent": r"^there is no absent\.js",
}
"""By file: the message of the failure."""


async def test_what_it_cannot_hold_is_refused_by_name(bench: Bench) -> None:
    for file, message in REFUSED.items():
        with pytest.raises(LoadFailed, match=message) as failed:
            await bench.tree.load(spec(bench, f"{file}:handler"))
        assert failed.value.code == ("ImportModuleError" if file == "absent" else "InitFailed")
        assert file != "raises" or "raises.js:1" in failed.value.traceback


async def test_options_that_it_cannot_follow_are_refused(bench: Bench) -> None:
    for option in ("--require ./lib/lazy.js", "--import=./lib/imported.mjs", "--enable-source-maps"):
        name = option.replace("=", " ").split()[0]
        function = spec(bench, "both:handler", name=name.strip("-"), env={"NODE_OPTIONS": f"--no-deprecation {option}"})
        with pytest.raises(LoadFailed, match=f"cannot hold what {name} in NODE_OPTIONS does: leave that out, or leave"):
            await bench.tree.load(function)


async def test_a_load_that_does_not_end_is_ended(bench: Bench) -> None:
    with pytest.raises(LoadFailed, match="took longer than init_timeout, 1 s") as failed:
        await bench.tree.load(spec(bench, "stuck:handler", init_timeout_s=1.0))
    assert failed.value.code == "InitTimeout"
    assert "no stack: Node.js shows none while it builds a startup snapshot" in failed.value.traceback


async def test_a_load_that_takes_too_much_memory_is_ended(bench: Bench) -> None:
    with pytest.raises(LoadFailed, match="used more than template_memory, 250 MiB: "):
        await bench.tree.load(spec(bench, "grows:handler", limits=Limits(template_memory_bytes=250 * MIB)))


async def test_packages_of_both_kinds_are_commonjs(bench: Bench) -> None:
    assert await bench.answer(spec(bench, "both:handler")) == "CommonJS"


async def test_what_runs_at_the_end_runs_in_instances_only(bench: Bench) -> None:
    function = spec(bench, "ends:handler")
    await bench.tree.load(function)
    assert bench.texts() == []
    assert await bench.answer(function) < 20.0, "seconds since the start of the instance, not of what it begins with"
    await until(lambda: bench.texts() == ["nothing is left", "exits"])


async def test_it_is_memory_of_the_template(bench: Bench) -> None:
    own_kb = {}
    for snapshot in (False, True):
        template = await bench.tree.load(spec(bench, "ends:handler", snapshot=snapshot))
        own_kb[snapshot] = template.look_kb()
    assert own_kb[True] - own_kb[False] > 1024


async def test_an_instance_that_ends_leaves_it_to_the_others(bench: Bench) -> None:
    function = spec(bench, "index:spins", timeout_s=0.2, grace_s=0.1)
    for _ in range(2):
        assert failure(await bench.call(function)).code == "Timeout"
