"""`forklight install` as a process: environments of requirements, made from wheels beside them, without a network."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from urllib.request import urlopen

import msgspec
import pytest

from forklight.code.interpreter import own_interpreter
from forklight.config.configuration import load
from forklight.config.requirements import read_requirements
from forklight.config.runtimes import Environment
from forklight.serving.installing import Holder, remove_unused
from forklight.serving.watching import look
from forklight.state.directory import open_here, open_state
from forklight.state.users import unprivileged_user
from forklight.testing import ServeError, serving
from tests.kit.runtimes import bare_environment, write_uv, write_wheel
from tests.kit.support import readable_folder

ROOT = Path(__file__).resolve().parents[2]
CODE = "import tiny\n\ndef handler(event):\n    return [tiny.VERSION, tiny.__file__, tiny.__cached__]\n"

pytestmark = pytest.mark.timeout(120)


def _environ(folder: Path) -> dict[str, str]:
    path = f"{folder}/tools:{os.environ['PATH']}"
    return {"PATH": path, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}


def _start(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "forklight", *arguments]
    command += [] if "--state" in arguments else ["--state", "state"]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=_environ(folder), stdout=pipe, stderr=pipe, text=True)


def _run(folder: Path, *arguments: str) -> tuple[str, str, int]:
    """Standard output, standard error, exit status."""
    with _start(folder, *arguments) as process:
        stdout, stderr = process.communicate(timeout=110)
        return stdout, stderr, process.returncode


def _application(folder: Path, **versions: str) -> Path:
    """A function for each name, in a runtime of its own that requires this version of `tiny`."""
    toml = ""
    for name, version in versions.items():
        write_wheel(folder / "wheels", "tiny", version)
        (folder / f"{name}.txt").write_text(f"--no-index\n--find-links wheels\ntiny=={version}\n")
        toml += f'[functions.{name}]\nhandler = "f:handler"\nruntime = "{name}"\n'
        toml += f'[runtimes.{name}]\nrequirements = "{name}.txt"\n'
    (folder / "forklight.toml").write_text(toml)
    (folder / "f.py").write_text(CODE)
    return folder


@pytest.fixture
def folder() -> Iterator[Path]:
    with readable_folder() as folder:
        write_uv(folder / "tools")
        yield folder


def _environments(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "state/runtimes").iterdir() if path.is_dir())


@pytest.mark.long_form
@pytest.mark.ordinary_user
def test_two_versions_of_one_library_run_side_by_side(folder: Path) -> None:
    (folder / "tools/uv").unlink()
    _application(folder, old="1.0", new="2.0")
    stdout, stderr, status = _run(folder, "install")
    assert [line.partition(" in ")[0] for line in stdout.splitlines()] == ["old: installed", "new: installed"]
    assert "Successfully installed tiny-1.0" in stderr
    assert status == 0
    for name, version in (("old", "1.0"), ("new", "2.0")):
        stdout, stderr, status = _run(folder, "invoke", name, "--here")
        assert (json.loads(stdout)[0], stderr, status) == (version, "", 0)
        _, source, compiled = json.loads(stdout)
        assert Path(source).is_relative_to(folder / "state/runtimes")
        assert Path(compiled).exists()
    (folder / "f.py").write_text("import yaml\n")
    asked = f"runtime 'new' (Python {sys.version.split()[0]} at {_environments(folder)[0]})"
    assert _run(folder, "invoke", "new", "--here")[1].splitlines()[0] == (
        "new: load/ImportModuleError: No module named 'yaml': it is neither in the function's code nor in "
        f"{asked}. Add the line PyYAML to {folder}/new.txt, "
        f"then run: forklight install {folder}/forklight.toml --state {folder}/state"
    )
    stdout, stderr, status = _run(folder, "install")
    assert [line.partition(",")[0] for line in stdout.splitlines()] == [
        "old: installed already",
        "new: installed already",
    ]
    assert (stderr, status) == ("", 0)


@pytest.mark.ordinary_user
@pytest.mark.parametrize("command", [["check"], ["serve"], ["invoke", "app", "--here"]])
def test_every_command_says_that_a_runtime_is_missing(folder: Path, command: list[str]) -> None:
    _application(folder, app="1.0")
    advice = f"run: forklight install --state {folder}/state"
    problem = f"forklight.toml:5 runtimes.app.requirements: the runtime 'app' is not installed; {advice}"
    assert _run(folder, *command) == ("", f"{problem}\n", 2)
    assert not (folder / "state/runtimes").exists()


@pytest.mark.any_user
def test_a_change_of_the_requirements_makes_it_stale_and_what_is_old_goes(folder: Path) -> None:
    _application(folder, app="1.0")
    assert _run(folder, "install")[2] == 0
    before = _environments(folder)
    _application(folder, app="2.0")
    advice = f"run: forklight install --state {folder}/state"
    stale = f"the runtime 'app' is stale, as app.txt or the interpreter has changed; {advice}"
    assert _run(folder, "check") == ("", f"forklight.toml:5 runtimes.app.requirements: {stale}\n", 2)
    with open_state(folder / "state", unprivileged_user()):  # as a server does, in which the old one may be in use
        assert _run(folder, "install")[2] == 0
    assert len(_environments(folder)) == 2
    assert _run(folder, "install")[2] == 0
    (after,) = _environments(folder)
    assert after not in before


@pytest.mark.any_user
def test_an_environment_that_failed_or_is_half_made_is_never_used(folder: Path) -> None:
    (folder / "tools/uv").unlink()
    _application(folder, app="1.0")
    (folder / "app.txt").write_text(f"--no-index\n--find-links wheels\ntiny==1.0 --hash=sha256:{'0' * 64}\n")
    stdout, stderr, status = _run(folder, "install")
    assert (stdout, status) == ("", 1)
    assert "Expected sha256 0000" in stderr
    assert "Error: the runtime 'app' could not be created: python -I -m pip ... ended with 1" in stderr
    (half,) = _environments(folder)
    assert (half / "bin/python").exists()
    assert "the runtime 'app' is not installed" in _run(folder, "check")[1]


@pytest.mark.any_user
def test_two_installs_at_once_make_it_once(folder: Path) -> None:
    _application(folder, app="1.0")
    with _start(folder, "install") as first, _start(folder, "install") as second:
        answers = [process.communicate(timeout=110) for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0)
    assert sorted(stdout.split(" in ")[0].split(",")[0] for stdout, _ in answers) == [
        "app: installed",
        "app: installed already",
    ]
    assert len(_environments(folder)) == 1


@pytest.mark.any_user
def test_only_what_is_wrong_with_the_runtimes_keeps_from_installing(folder: Path) -> None:
    (folder / "forklight.toml").write_text('[functions.f]\nhandler = "f:h"\nsecrets = { K = { env = "NO_K" } }\n')
    nothing = 'nothing to install: no [runtimes.x] has requirements = "requirements.txt"\n'
    assert _run(folder, "install") == (nothing, "", 0)
    (folder / "forklight.toml").write_text('[runtimes.x]\nrequirements = "none.txt"\n')
    problem = "forklight.toml:2 runtimes.x.requirements: none.txt cannot be read: No such file or directory\n"
    assert _run(folder, "install") == ("", problem, 2)


@pytest.mark.any_user
def test_tests_of_the_application_have_its_runtimes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _application(folder, app="1.0")
    toml = (folder / "forklight.toml").read_text()
    (folder / "forklight.toml").write_text(toml.replace("[functions.app]", '[functions.app]\nhttp = "/"', 1))
    with pytest.raises(ServeError) as missing, serving(folder, env={"PYTHONPATH": str(ROOT)}):
        pass
    assert str(missing.value).endswith(f"run: forklight install {folder}/forklight.toml")
    assert _run(folder, "install")[2] == 0
    monkeypatch.setenv("FORKLIGHT_STATE", str(folder / "state"))
    (environment,) = _environments(folder)
    for _ in range(2):
        with serving(folder, env={"PYTHONPATH": str(ROOT)}) as application:
            assert application.get("/").json()[0] == "1.0"
        assert environment.is_dir(), "it was lent"


@pytest.mark.any_user
def test_an_interpreter_is_the_same_by_any_of_its_names(folder: Path) -> None:
    """`python`, `python3`, a virtual environment of it, and what version 0.1 made with one of these."""
    _application(folder, app="1.0")
    links = {name: folder / name for name in ("python", "python3")}
    for link in links.values():
        link.symlink_to(os.path.realpath(sys.executable))
    other = bare_environment(folder / "other")
    libraries = {"PYTHONPATH": os.pathsep.join([str(ROOT), *(path for path in sys.path if "site-packages" in path)])}
    for python in (*links.values(), other):
        command = [str(python), "-m", "forklight", "install", "--state", "state"]
        environ = _environ(folder) | libraries
        done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert ("installed already" in done.stdout) == (python != links["python"])
    (new,) = _environments(folder)
    base = own_interpreter()
    key = msgspec.json.encode([base, read_requirements(folder / "app.txt")], order="deterministic", enc_hook=str)
    old = new.with_name(f"app-{sha256(key).hexdigest()[:12]}")
    new.rename(old)
    assert _run(folder, "install")[0].startswith("app: installed already")


@pytest.mark.any_user
def test_what_somebody_uses_or_another_configuration_owns_is_not_removed(folder: Path) -> None:
    own, other = folder / "forklight.toml", folder / "other.toml"
    base, made = own_interpreter(), {}
    owners = {"used": own, "unused": own, "others": other, "orphan": folder / "gone.toml", "old": None}
    for name, owner in owners.items():
        made[name] = Environment(name, folder / "r.txt", base, folder / "state/runtimes" / f"{name}-000000000000")
        made[name].path.mkdir(parents=True)
        made[name].mark.write_text(f"{folder}/r.txt\nforklight install\n{owner}\n" if owner else f"{folder}/r.txt\n")
    own.touch()
    other.touch()
    holder = Holder()
    holder.hold([made["used"]])
    remove_unused(folder / "state", own, set())
    assert set(_environments(folder)) == {made["used"].path, made["others"].path}
    holder.end()
    remove_unused(folder / "state", own, set())
    assert _environments(folder) == [made["others"].path]


@pytest.mark.any_user
def test_dev_waits_for_an_install_and_reloads_after_another(folder: Path) -> None:
    """The command in its advice is run as it is."""
    _application(folder, app="1.0")
    toml = (folder / "forklight.toml").read_text()
    (folder / "my app.toml").write_text(toml.replace("[functions.app]", '[functions.app]\nhttp = "/"', 1))
    (folder / "f.py").write_text("import tiny\n\ndef handler(event):\n    return tiny.VERSION\n")
    with _start(folder, "dev", "my app.toml", "--listen", "127.0.0.1:0", "--state", "st ate") as dev:
        try:
            advice = _wait_for(dev, "run: forklight ").partition("run: forklight ")[2]
            assert _run(folder, *shlex.split(advice))[2] == 0
            port = _wait_for(dev, "Try: curl http://127.0.0.1:").rpartition(":")[2].strip("/")
            url = f"http://127.0.0.1:{port}/"
            assert urlopen(url).read() == b"1.0"
            write_wheel(folder / "wheels", "tiny", "2.0")
            (folder / "app.txt").write_text("--no-index\n--find-links wheels\ntiny==2.0\n")
            _wait_for(dev, "the runtime 'app' is stale")
            assert _run(folder, *shlex.split(advice))[2] == 0
            _wait_for(dev, "reloaded: app changed")
            assert urlopen(url).read() == b"2.0"
        finally:
            dev.terminate()


def _wait_for(process: "subprocess.Popen[str]", text: str) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        if text in line:
            return line.strip()
    raise AssertionError(f"it ended without {text!r}")


@pytest.mark.any_user
def test_requirements_are_watched_while_one_writes(folder: Path) -> None:
    _application(folder, app="1.0")
    (folder / "more.txt").write_text("")
    requirements = folder / "app.txt"
    requirements.write_text(f"-r more.txt\n{requirements.read_text()}")
    assert _run(folder, "install")[2] == 0
    config = load(folder, {}, folder / "state")
    assert {requirements, folder / "more.txt", folder / "forklight.toml"} <= look(
        config, folder / "state"
    ).watched.files
    requirements.unlink()
    assert folder / "forklight.toml" in look(config, folder / "state").watched.files


@pytest.mark.any_user
def test_what_a_one_shot_tree_may_use_stays(folder: Path) -> None:
    state, user = folder / "state", unprivileged_user()
    (state / "runtimes/old-000000000000").mkdir(parents=True)
    (state / "runtimes/app-000000000000").mkdir()
    keep = {state / "runtimes/app-000000000000"}
    with open_here(state, user):
        remove_unused(state, folder / "forklight.toml", keep)
        assert len(_environments(folder)) == 2
    remove_unused(state, folder / "forklight.toml", keep)
    assert set(_environments(folder)) == keep
