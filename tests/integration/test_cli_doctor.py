"""`forklight doctor` as a process, also where a mechanism has been taken away."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from forklight.packages.store import PackageStore
from forklight.state.releases import Application, Release, write_releases
from sandbox.containment import Mechanism
from tests.kit.levels import found
from tests.kit.support import readable_folder
from tests.kit.without import without
from tests.kit.zips import make_zip, put

pytestmark = pytest.mark.ordinary_user
ROOT = Path(__file__).resolve().parents[2]
FORKLIGHT = [sys.executable, "-W", "error", "-m", "forklight"]
BOXED = '[functions.boxed]\nhandler = "f:handler"\nisolation = "namespaces"\n'
LOOSE = '[functions.loose]\nhandler = "f:handler"\nisolation = "limits"\n'


def run(argv: list[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(folder)}
    return subprocess.run(argv, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=50, check=False)


def doctor(*arguments: str, where: str | None = None, folder: Path = Path("/")) -> tuple[int, dict[str, Any]]:
    argv = [*FORKLIGHT, "doctor", *arguments, "--json"]
    done = run(without(where, argv) if where else argv, folder)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_it_says_of_each_mechanism_whether_it_is_in_force_or_why_not() -> None:
    status, told = doctor()
    here = found()
    assert {one["name"]: one["in_force"] for one in told["mechanisms"]} == {one: here.has(one) for one in Mechanism}
    for one in told["mechanisms"]:
        missing = here.missing.get(Mechanism(one["name"]))
        assert (one["why"], one["how"]) == ((missing.why, missing.how) if missing else ("", ""))
    unmet = [one for one in told["mechanisms"] if one["wanted_by"] and not one["in_force"]]
    assert (status, told["status"]) == ((1, "incomplete") if unmet else (0, "complete"))


def test_what_cannot_be_had_is_named_by_doctor_and_refused_by_check() -> None:
    with readable_folder() as folder:
        (folder / "f.py").write_text("def handler(event): pass\n")
        (folder / "forklight.toml").write_text(BOXED + LOOSE)
        state = ("--state", str(folder / "state"))
        status, told = doctor(str(folder), *state, where="bubblewrap")
        assert (status, told["status"]) == (2, "refused")
        boxed, loose = told["functions"]
        assert (boxed["level"], boxed["asked"]) == (None, {"isolation": "namespaces"})
        assert boxed["refused"][0]["key"] == "isolation"
        assert "bubblewrap is not installed: install the package bubblewrap" in boxed["refused"][0]["why"]
        assert (loose["level"], loose["asked"], loose["refused"]) == ("limits", {"isolation": "limits"}, [])
        bubblewrap = next(one for one in told["checks"] if one["what"] == "bubblewrap")
        assert bubblewrap == {"what": "bubblewrap", "ok": False, "told": bubblewrap["told"]}
        done = run(without("bubblewrap", [*FORKLIGHT, "check", str(folder), *state]), folder)
        assert done.returncode == 2
        assert (
            f'{folder}/forklight.toml:3 functions.boxed.isolation: "namespaces" cannot be had: bubblewrap'
            in done.stderr
        )


def test_a_wrong_configuration_hides_nothing_of_the_machine(tmp_path: Path) -> None:
    (tmp_path / "forklight.toml").write_text("[functions.f]\n")
    status, told = doctor(str(tmp_path))
    assert (status, told["status"], told["functions"]) == (2, "refused", [])
    assert "handler is missing" in told["problems"][0]
    assert len(told["mechanisms"]) == len(Mechanism)


def test_it_looks_through_the_packages_of_a_state(tmp_path: Path) -> None:
    store = PackageStore(tmp_path)
    names = [put(store, make_zip(("a", content))) for content in (b"1", b"2")]
    release = Release(number=1, package=names[0], at=datetime.now(UTC), by="me", size_bytes=1)
    write_releases(tmp_path, {"shop": Application(releases=(release,), live=1, last=1)})

    def told() -> tuple[bool, str]:
        checks = doctor("--state", str(tmp_path), folder=tmp_path)[1]["checks"]
        [packages] = [one for one in checks if one["what"] == "packages"]
        return packages["ok"], packages["told"]

    assert told() == (True, f"2 in {store.packages}, 0.0 MB, all as they came")
    store.path(names[0]).unlink()
    store.path(names[1]).write_bytes(b"?")
    damaged = f"{store.path(names[1])} is damaged: remove it, and deploy or pull it again"
    gone = f"version 1 of shop needs the package {names[0][:12]}, which is gone: deploy it again"
    assert told() == (False, f"{damaged}; {gone}")
