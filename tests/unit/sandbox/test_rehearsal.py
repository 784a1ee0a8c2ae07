"""What a version's templates import ahead, step by step; what does harm is left out within a few attempts."""

from typing import Any

import msgspec

from sandbox.rehearsal import MAX_ATTEMPTS, MOST_LEFT_OUT, NOTHING_KNOWN, Plan, Plans

LEARNT = NOTHING_KNOWN.learn(("a", "a_brings", "b", "c", "c_brings", "d"))


def modules_of(plan: Plan, *, tries: bool) -> Any:
    message = plan.message("libraries", tries=tries)
    return None if message is None else message["modules"]


def test_only_the_first_report_counts() -> None:
    assert NOTHING_KNOWN.may_learn("libraries")
    assert not NOTHING_KNOWN.may_learn("none")
    assert LEARNT.learn(("z",)) == LEARNT
    assert not LEARNT.may_learn("libraries")


def test_what_was_learnt_is_imported_by_a_candidate_first() -> None:
    assert LEARNT.is_untried
    assert modules_of(LEARNT, tries=False) == ()
    assert modules_of(LEARNT, tries=True) == LEARNT.modules
    assert LEARNT.message("none", tries=True) is None
    other = LEARNT.went((), {}, tries=False)
    assert other.is_untried, "a template that was loaded meanwhile has proven nothing"


def test_a_proven_plan_has_only_the_modules_that_had_to_be_named() -> None:
    proven = LEARNT.went(("a", "b", "d"), {"c": "ModuleNotFoundError"}, tries=True)
    assert proven.rehearsed == modules_of(proven, tries=False) == ("a", "b", "d")
    assert proven.left_out == {"c": "ModuleNotFoundError"}
    assert not proven.is_untried
    assert proven.went(("a", "d"), {}, tries=False).rehearsed == ("a", "d"), "each template says what it has imported"


def test_a_module_that_does_harm_is_left_out_with_what_it_brought() -> None:
    plan = LEARNT.spoilt("it starts a thread", ("a", "b", "d"), {"c": "it starts a thread"})
    assert modules_of(plan, tries=True) == ("a", "a_brings", "b", "d")
    message = plan.message("all", tries=True)
    assert message == {"modules": plan.modules, "refused": ("c",), "scope": "all"}


def test_harm_that_no_module_explains_has_all_left_out() -> None:
    plan = LEARNT.spoilt("together they leave something open", ("a", "b", "c", "d"), {})
    assert plan.given_up == "together they leave something open"
    assert plan.rehearsed == ()
    assert modules_of(plan, tries=True) is None
    assert not plan.may_learn("libraries")


def test_a_load_that_failed_has_all_left_out() -> None:
    assert LEARNT.failed("it took too long").given_up == "it took too long"


def test_a_plan_is_given_up_after_a_few_attempts() -> None:
    plan = NOTHING_KNOWN.learn(tuple("abcdefgh"))
    for attempt, name in enumerate("bdf"[:MAX_ATTEMPTS], 1):
        before = plan
        plan = plan.spoilt(f"{name} does harm", tuple(before.modules or ()), {name: "harm"})
        assert name not in (plan.modules or ())
        assert before.left_out.items() < plan.left_out.items()
        assert bool(plan.given_up) == (attempt == MAX_ATTEMPTS)


def test_what_a_template_says_is_bounded() -> None:
    plan = LEARNT
    for turn in range(20):
        plan = plan.went(("a",), {f"m{turn}_{i}": "no" for i in range(10)}, tries=True)
    assert len(plan.left_out) == MOST_LEFT_OUT


def test_plans_are_kept_by_function_and_version() -> None:
    plans = Plans()
    plans.keep("f", "1", LEARNT)
    assert plans.of("f", "1") == LEARNT
    assert plans.of("f", "2") == plans.of("g", "1") == NOTHING_KNOWN
    assert msgspec.json.decode(msgspec.json.encode(LEARNT), type=Plan) == LEARNT
