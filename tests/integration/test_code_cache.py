"""V8's code cache: the first instance of a template writes it, the others take it, and modules see nothing of it."""

import json
import re
from typing import Any

import pytest

from bus import Outcome
from sandbox.containment import Level
from sandbox.instance import Instance
from sandbox.proving import prove
from sandbox.spec import FunctionSpec
from tests.kit.levels import contained, levels
from tests.kit.nodes import major, node_runtime, release
from tests.kit.support import Bench, answer, event, failure, until

pytestmark = [
    pytest.mark.any_user,
    pytest.mark.skipif(not release(), reason="Node.js is not installed"),
]

WITHOUT = {"NODE_OPTIONS": "--title=policy"}
"""A word by which modules are left to Node.js: with a policy it has a say in how they are compiled."""
CACHED = {"guest", "index", "cycle", "cycle_back", "plain", "wide"}
EVALUATING = {"evaluating", "constructor"}
"""Modules that might `import()` by text, which works from a code cache since Node.js 22."""
STARTS = 4


def spec(bench: Bench, handler: str, **settings: Any) -> FunctionSpec:
    """A function of `tests/functions/node/compiled`, which tells what became of its code cache."""
    runtime = node_runtime(bench.runtime.python)
    fixed = {"name": handler.replace(":", "-"), "runtime": runtime, "rehearsal": "none", "log_level": "debug"}
    return bench.spec("node/compiled", handler, **(fixed | settings))


def told(bench: Bench) -> list[str]:
    """What the instances have told of it, with N for numbers of modules."""
    lines = [text for text in bench.texts() if text.startswith("[forklight] code cache: ")]
    return [re.sub(r"[1-9]\d*", "N", text.partition(": ")[2]) for text in lines]


def seen(outcome: Outcome) -> Any:
    """What modules have seen; the frame of Node.js that runs a module has the place of ours."""
    return json.loads(
        re.sub(r"Module\._compile \(node:internal/[^)]*\)", "Module._compile", json.dumps(answer(outcome)))
    )


async def outcomes(bench: Bench, function: FunctionSpec, *data: Any) -> list[Outcome]:
    """Of one instance after the other, each with one event."""
    return [await bench.call(function, one) for one in data]


async def test_the_first_instance_writes_what_the_others_take(bench: Bench) -> None:
    for level in levels():
        bench.lines.clear()
        function = spec(bench, "index:shared", containment=contained(level), name=f"at-{level.value}")
        first, *others = [answer(one) for one in await outcomes(bench, function, *range(STARTS))]

        assert first == {"refusals": ["empty"], "open": []}, level
        assert others == [{"refusals": ["EPERM"], "open": []}] * (STARTS - 1), level
        await until(lambda: len(told(bench)) == STARTS)
        assert told(bench) == ["N modules for later starts"] + ["N modules compiled before, 0 refused"] * (STARTS - 1)
    assert Level.LIMITS in levels()


async def test_it_is_memory_of_the_template(bench: Bench) -> None:
    function = spec(bench, "spoils:handler", log_level="info")
    (size,) = {answer(one) for one in await outcomes(bench, function, 1)}
    (template,) = bench.tree.templates()
    before_kb = template.rss_kb
    await bench.call(function)

    assert template.rss_kb - before_kb >= size // 1024


async def test_modules_see_nothing_of_it(bench: Bench) -> None:
    function = spec(bench, "index:facts")
    plain = seen(await bench.call(spec(bench, "index:facts", env=WITHOUT)))
    first, second = [seen(one) for one in await outcomes(bench, function, 1, 2)]

    await until(lambda: "N modules compiled before, 0 refused" in told(bench))
    assert first == plain
    assert second == plain


async def test_what_imports_is_left_to_nodejs(bench: Bench) -> None:
    """`import()` of a cached module would fail, or warn in the log, and ES modules have no cache."""
    function = spec(bench, "index:facts")
    await outcomes(bench, function, 1, 2)
    (line,) = await until(lambda: [text for text in bench.texts() if "compiled before" in text])
    cached = CACHED | EVALUATING if major() >= 22 else CACHED
    assert line == f"[forklight] code cache: {len(cached)} modules compiled before, 0 refused"


async def test_a_file_that_has_changed_is_compiled_anew(bench: Bench) -> None:
    code = bench.code / "changing"
    (code / "lib").mkdir(parents=True)
    (code / "lib/word.js").write_text("module.exports = 'old';\n")
    (code / "index.js").write_text("const word = require('./lib/word');\nexports.handler = () => word;\n")
    function = spec(bench, "index:handler", code=code)
    before = [answer(one) for one in await outcomes(bench, function, 1, 2)]
    (code / "lib/word.js").write_text("module.exports = 'new';\n")
    after = answer(await bench.call(function))

    assert (before, after) == (["old", "old"], "new")


async def test_what_the_function_writes_there_harms_nobody(bench: Bench) -> None:
    function = spec(bench, "spoils:handler")
    first, *others = [answer(one) for one in await outcomes(bench, function, "spoil", *range(STARTS - 1))]
    assert first > 0
    assert others == [first] * (STARTS - 1), "it is given on, sealed"
    await until(lambda: told(bench).count("0 modules compiled before, 0 refused") == STARTS - 1)
    refused = failure(await bench.call(function, "spoil"))
    assert refused.code == "EPERM"


async def test_a_function_that_closes_the_file_only_has_no_cache(bench: Bench) -> None:
    function = spec(bench, "closes:handler")
    assert [answer(one) for one in await outcomes(bench, function, *range(STARTS))] == ["loaded"] * STARTS
    await until(lambda: len(told(bench)) >= 1)
    assert not any("compiled before" in text for text in told(bench))


async def test_after_a_crash_it_is_forgotten(bench: Bench) -> None:
    function = spec(bench, "index:shared")
    crashes = spec(bench, "spoils:crash", grace_s=5.0)
    assert failure(await bench.call(crashes)).kind == "crash"
    assert told(bench) == ["N modules for later starts"]
    for _ in range(STARTS):
        assert failure(await bench.call(crashes)).kind == "crash"
    await until(lambda: bench.texts().count("crashes") == STARTS + 1)
    assert told(bench) == ["N modules for later starts"], "the first crash may have been because of it"
    first, second = [answer(one) for one in await outcomes(bench, function, 1, 2)]
    assert (first["refusals"], second["refusals"]) == (["empty"], ["EPERM"]), "other functions keep theirs"


async def test_a_version_that_has_started_is_not_proven_again(bench: Bench) -> None:
    function = spec(bench, "index:shared")
    for _ in range(2):
        await prove(bench.tree, function)
        await until(lambda: not any(template.instances for template in bench.tree.templates()))
    assert told(bench) == ["N modules for later starts"], "one instance has started"


async def test_instances_that_start_at_once_work(bench: Bench) -> None:
    function = spec(bench, "index:shared")
    found: list[Instance] = [(await bench.tree.start(function))[0] for _ in range(2)]
    for instance in found:
        assert answer(await instance.invoke(event()))["open"] == []
        instance.leave()
