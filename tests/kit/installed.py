"""An installed Forklight: a wheel of this tree in an environment of its own, as a user has it."""

import atexit
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@cache
def command() -> Path:
    """The `forklight` of an environment that every user can read; made once for all tests, without a network.

    Only our own packages are installed there: the libraries are those of the environment of the tests.
    """
    folder = Path(tempfile.mkdtemp(prefix="forklight-installed-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    folder.chmod(0o755)
    environment = folder / "environment"
    _run("venv", "--without-pip", str(environment))
    python = environment / "bin/python"
    site_packages = next(environment.glob("lib/python*/site-packages"))
    (site_packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    _pip("wheel", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT))
    [wheel] = folder.glob("*.whl")
    _pip("--python", str(python), "install", str(wheel))
    for library in ROOT.glob("forklight__mypyc*.so"):  # where scripts/test has compiled this tree
        shutil.copy(library, site_packages)
    return environment / "bin/forklight"


def _pip(*arguments: str) -> None:
    options = ("--quiet", "--disable-pip-version-check", "--no-input")
    _run("pip", *options, *arguments, "--no-deps", "--no-index")


def _run(module: str, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", module, *arguments], check=True, timeout=120, cwd="/")
