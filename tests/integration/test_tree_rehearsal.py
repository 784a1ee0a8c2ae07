"""What the first call imports, the next template imports before it forks, and no function is worse for it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.rehearsal import Plans
from sandbox.spec import MIB, FunctionSpec, Limits
from sandbox.template import Template
from tests.kit.support import Bench, answer, event, hosted_tree, is_gone, until

pytestmark = pytest.mark.any_user


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """A tree that learns from first calls."""
    async with hosted_tree(plans=Plans()) as running:
        yield running


def of_libraries(bench: Bench, handler: str = "bad", **settings: Any) -> FunctionSpec:
    """A function that finds `rehearsal_libraries` outside its own folder."""
    path = {"PYTHONPATH": str(bench.code / "rehearsal_libraries")}
    return bench.spec("rehearsal", handler, env=path, **settings)


def template_of(bench: Bench, spec: FunctionSpec) -> Template:
    template = bench.tree.template_of(spec)
    assert isinstance(template, Template)
    return template


async def settled(bench: Bench, spec: FunctionSpec) -> None:
    """Wait until no other template of the function will follow."""
    plan = bench.tree.rehearsed_of
    await until(lambda: plan(spec).modules is not None and not plan(spec).is_untried)
    if plan(spec).rehearsed:
        await until(lambda: set(plan(spec).rehearsed) <= set(template_of(bench, spec).loaded.rehearsed))
    await until(lambda: sum(template.ended is None for template in bench.tree.templates()) == 1)


async def test_the_second_fork_finds_what_the_first_call_has_imported(bench: Bench) -> None:
    spec = bench.spec("rehearsal", "imports")
    assert (await bench.answer(spec))["before"] == {"colorsys": False, "wave": False}
    await settled(bench, spec)

    assert (await bench.answer(spec))["before"] == {"colorsys": True, "wave": True}
    spare, _ = await bench.tree.start(spec, ahead=True)
    assert answer(await spare.invoke(event()))["before"] == {"colorsys": True, "wave": True}
    plan = bench.tree.rehearsed_of(spec)
    assert {"colorsys", "wave"} <= set(plan.rehearsed)
    assert not plan.left_out
    assert not plan.given_up


async def test_instances_serve_on_while_and_after_their_template_is_replaced(bench: Bench, tmp_path: Path) -> None:
    spec = bench.spec("rehearsal", "imports")
    old, _ = await bench.tree.start(spec)
    busy, _ = await bench.tree.start(spec)
    (first,) = bench.tree.templates()
    before = answer(await old.invoke(event()))
    await settled(bench, spec)

    assert first.ended == "it was replaced"
    assert template_of(bench, spec) is not first
    assert answer(await old.invoke(event()))["pid"] == before["pid"]
    assert answer(await busy.invoke(event()))["before"] == {"colorsys": False, "wave": False}
    old.leave()
    await until(lambda: is_gone(old.pid))
    assert not first.is_dead, "it has an instance left"
    busy.leave()
    await first.gone.wait()
    assert bench.tree.templates() == [template_of(bench, spec)]


async def test_a_version_that_is_dropped_dismisses_the_instances_of_a_replaced_template(bench: Bench) -> None:
    spec = bench.spec("rehearsal", "imports")
    old, _ = await bench.tree.start(spec)
    await old.invoke(event())
    await settled(bench, spec)
    new, _ = await bench.tree.start(spec)
    bench.tree.drop(spec)

    await until(lambda: is_gone(old.pid) and is_gone(new.pid))
    await until(lambda: not bench.tree.templates())


async def test_what_was_learnt_stays_with_a_version_at_rest(bench: Bench) -> None:
    spec = bench.spec("rehearsal", "imports")
    await bench.answer(spec)
    await settled(bench, spec)
    bench.tree.drop(spec)
    await until(lambda: not bench.tree.templates())

    assert (await bench.answer(spec))["before"] == {"colorsys": True, "wave": True}
    assert len(bench.tree.templates()) == 1


async def test_a_call_that_fails_teaches_nothing_but_the_next_one_does(bench: Bench) -> None:
    spec = bench.spec("rehearsal", "fails_first")
    instance, _ = await bench.tree.start(spec)
    await instance.invoke(event(b'"fail"'))
    assert bench.tree.rehearsed_of(spec).modules is None
    answer(await instance.invoke(event(b'""')))
    await settled(bench, spec)

    assert await bench.answer(spec, "") == {"colorsys": True}


async def test_nothing_is_made_again_if_nothing_was_learnt(bench: Bench) -> None:
    spec = bench.spec("rehearsal", "nothing")
    await bench.answer(spec)
    (template,) = bench.tree.templates()
    await bench.answer(spec)

    assert bench.tree.rehearsed_of(spec).modules == ()
    assert bench.tree.templates() == [template]


@pytest.mark.parametrize(("scope", "finds_own"), [("libraries", False), ("all", True)])
async def test_own_modules_are_rehearsed_only_if_the_author_says_so(bench: Bench, scope: str, finds_own: bool) -> None:
    spec = bench.spec("rehearsal", "own", rehearsal=scope)
    await bench.answer(spec)
    await settled(bench, spec)
    found = await bench.answer(spec)

    assert found["before"] == {"deferred": finds_own, "colorsys": True}  # what they import from elsewhere is rehearsed
    assert (found["made_by"] == found["pid"]) is not finds_own


async def test_without_rehearsal_no_call_is_asked(bench: Bench) -> None:
    spec = bench.spec("rehearsal", "imports", rehearsal="none")
    for _ in range(2):
        assert (await bench.answer(spec))["before"] == {"colorsys": False, "wave": False}
    assert bench.tree.rehearsed_of(spec).modules is None


@pytest.mark.parametrize(
    ("module", "why"),
    [
        ("brings_good", r"RuntimeError: no call\x1b[31m"),
        ("threaded", "it starts a thread"),
        ("opens", "it opens socket:"),
    ],
)
async def test_a_module_that_would_do_harm_is_left_out_of_a_clean_template(bench: Bench, module: str, why: str) -> None:
    spec = of_libraries(bench)
    await bench.answer(spec, [module])
    await settled(bench, spec)
    found = await bench.answer(spec, [module])

    assert found["colorsys"]
    assert not found[module]
    assert found["good"] is (module != "brings_good"), "what a module brought is left out with it"
    plan = bench.tree.rehearsed_of(spec)
    assert list(plan.left_out) == [module]
    assert why.replace("\x1b", r"\x1b") in plan.left_out[module]
    assert not template_of(bench, spec).must_become


@pytest.mark.parametrize("module", ["holds", "spawns"])
async def test_what_no_single_module_explains_has_all_left_out(bench: Bench, module: str) -> None:
    spec = of_libraries(bench)
    await bench.answer(spec, [module])
    await settled(bench, spec)

    assert not any((await bench.answer(spec, [module])).values())
    assert "leave behind" in bench.tree.rehearsed_of(spec).given_up


async def test_a_rehearsal_that_needs_more_than_template_memory_is_given_up(bench: Bench) -> None:
    spec = of_libraries(bench, limits=Limits(template_memory_bytes=100 * MIB))
    await bench.answer(spec, ["large"])
    first = template_of(bench, spec)
    await settled(bench, spec)

    assert "template_memory" in bench.tree.rehearsed_of(spec).given_up
    assert template_of(bench, spec) is first


async def test_a_generator_of_a_rehearsed_module_draws_other_numbers_in_each_fork(bench: Bench) -> None:
    spec = of_libraries(bench, "draws")
    await bench.answer(spec)
    await settled(bench, spec)
    drawn = [await bench.answer(spec) for _ in range(3)]

    assert all(one["before"] for one in drawn)
    assert len({one["number"] for one in drawn}) == 3


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_async_handlers_teach_as_well(bench: Bench, concurrency: int) -> None:
    spec = bench.spec("rehearsal", "imports_async", concurrency=concurrency)
    instance, _ = await bench.tree.start(spec)
    answers = await asyncio.gather(*(instance.invoke(event()) for _ in range(concurrency)))
    assert answer(answers[0])["before"] == {"colorsys": False, "wave": False}
    await settled(bench, spec)

    assert (await bench.answer(spec))["before"] == {"colorsys": True, "wave": True}
    assert answer(await instance.invoke(event()))["pid"] == answer(answers[0])["pid"]


async def test_a_module_that_ends_the_process_has_all_left_out(bench: Bench) -> None:
    spec = of_libraries(bench)
    await bench.answer(spec, ["ends"])
    await settled(bench, spec)

    assert await bench.answer(spec, ["ends"]) == {"colorsys": False, "good": False, "ends": False}
    assert "exit code 3" in bench.tree.rehearsed_of(spec).given_up
    assert bench.tree.problem_of(spec) == ""


async def test_a_rehearsal_that_takes_too_long_is_given_up(bench: Bench) -> None:
    spec = of_libraries(bench, init_timeout_s=1.0, grace_s=0.1)
    await bench.answer(spec, ["slow_import"])
    first = template_of(bench, spec)
    await settled(bench, spec)

    assert "init_timeout" in bench.tree.rehearsed_of(spec).given_up
    assert template_of(bench, spec) is first


async def test_events_are_served_by_the_old_template_while_another_one_loads(bench: Bench) -> None:
    spec = of_libraries(bench, init_timeout_s=10.0)
    await bench.answer(spec, ["slow_import"])
    await until(lambda: len(bench.tree.templates()) == 2)  # the candidate imports until the time is up
    instance, kind = await bench.tree.start(spec)

    assert kind == "fork"
    assert answer(await instance.invoke(event(b'["slow_import"]'))) == {
        "colorsys": False,
        "good": False,
        "slow_import": False,
    }
    bench.tree.drop(spec)
    await until(lambda: not bench.tree.templates())
    assert bench.tree.rehearsed_of(spec).is_untried, "it was not the rehearsal that failed"


async def test_what_a_second_template_prints_is_not_logged_again(bench: Bench) -> None:
    spec = of_libraries(bench)
    await bench.answer(spec, ["prints"])
    await settled(bench, spec)
    await bench.answer(spec, ["prints"])

    assert bench.texts().count("printed at the import") == 1
    assert "prints" in bench.tree.rehearsed_of(spec).rehearsed


async def test_a_tree_that_ends_replaces_nothing(bench: Bench) -> None:
    spec = bench.spec("rehearsal", "imports")
    bench.tree.settle()
    await bench.answer(spec)
    assert len(bench.tree.templates()) == 1
    assert bench.tree.rehearsed_of(spec).modules is None
