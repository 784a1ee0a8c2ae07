"""What calls have imported outlives the server; what their code may import can be read before any call."""

from pathlib import Path

import pytest

from forklight.code.deferred import deferred_imports
from forklight.commands.rows import rehearsal_notes
from forklight.state.rehearsals import KeptPlans
from sandbox.rehearsal import NOTHING_KNOWN, Plan

PLAN = Plan(modules=("sqlite3", "wave"), left_out={"threaded": "it starts a thread"}, is_proven=True)


def test_a_plan_is_there_after_a_restart(tmp_path: Path) -> None:
    folder = tmp_path / "rehearsals"
    KeptPlans(folder).keep("shop", "v1", PLAN)
    again = KeptPlans(folder)
    assert again.of("shop", "v1") == PLAN
    assert again.of("shop", "v2") == again.of("other", "v1") == NOTHING_KNOWN
    assert [path.name for path in folder.iterdir()] == ["shop.json"]
    assert (folder / "shop.json").stat().st_mode & 0o777 == 0o600


def test_what_was_given_up_may_be_tried_by_the_next_server(tmp_path: Path) -> None:
    plans = KeptPlans(tmp_path)
    plans.keep("shop", "v1", PLAN)
    plans.keep("shop", "v1", PLAN.failed("it took too long"))
    assert plans.of("shop", "v1").given_up == "it took too long"
    assert KeptPlans(tmp_path).of("shop", "v1") == NOTHING_KNOWN


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"version":"v1","plan":{"modules":[1]}}', b"\xff"])
def test_a_file_that_makes_no_sense_counts_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "shop.json").write_bytes(content)
    assert KeptPlans(tmp_path).of("shop", "v1") == NOTHING_KNOWN


def test_a_folder_that_cannot_be_written_costs_nothing_but_the_next_first_call(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    plans = KeptPlans(tmp_path / "file", only=())
    plans.keep("shop", "v1", PLAN)
    assert plans.of("shop", "v1") == PLAN


def test_files_of_functions_that_are_gone_are_removed(tmp_path: Path) -> None:
    for name in ("shop", "gone"):
        KeptPlans(tmp_path).keep(name, "v1", PLAN)
    KeptPlans(tmp_path, only={"shop"})
    assert [path.name for path in tmp_path.iterdir()] == ["shop.json"]


def test_a_command_changes_nothing_of_a_server(tmp_path: Path) -> None:
    KeptPlans(tmp_path).keep("shop", "v1", PLAN)
    plans = KeptPlans(tmp_path, is_ours=False)
    plans.keep("shop", "v2", NOTHING_KNOWN.learn(("a",)))
    assert plans.of("shop", "v2").is_untried
    assert KeptPlans(tmp_path).of("shop", "v1") == PLAN


def test_imports_in_the_bodies_of_functions_are_found(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(
        "import json\n"
        "def handler(event):\n"
        "    import own, pack.part\n"
        "    import email.mime.text as text\n"
        "    from datetime import datetime\n"
        "    from . import own\n"
        "    def inner():\n"
        "        import wave\n"
        "class Reader:\n"
        "    async def read(self):\n"
        "        import zlib\n"
    )
    (tmp_path / "own.py").touch()
    (tmp_path / "pack").mkdir()
    (tmp_path / "broken.py").write_text("def (:\n")
    found = deferred_imports(tmp_path, ["main.py", "own.py", "broken.py", "absent.py"])
    assert found == ("datetime", "email.mime.text", "wave", "zlib")


def test_notes_name_the_modules() -> None:
    assert rehearsal_notes((), {}, "") == []
    assert rehearsal_notes(list("abcdefg"), {"h": "it starts a thread"}, "") == [
        "imported ahead of calls: a, b, c, d, e and 2 more",
        "not imported ahead of calls: h (it starts a thread)",
    ]
    assert rehearsal_notes((), {}, "it took too long") == ["nothing is imported ahead of calls: it took too long"]
