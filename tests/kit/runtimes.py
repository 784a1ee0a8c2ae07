"""The interpreters and environments that tests run functions in, made where the unprivileged user can read them."""

import contextlib
import fcntl
import glob
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

CACHE_AS_ROOT = Path("/var/cache/forklight/test-runtimes")
_NOT_NEEDED = shutil.ignore_patterns("test", "tests", "site-packages", "idlelib", "share", "include", "*.a")


def interpreters() -> list[str]:
    """Every CPython from 3.10 on that this machine has, besides the one that runs the tests."""
    pyenv = os.path.expanduser(os.environ.get("PYENV_ROOT", "~/.pyenv"))
    managed = glob.glob(f"{pyenv}/versions/3.1[0-9].*/bin/python")  # silent on folders it may not read
    on_path = [shutil.which(f"python3.{minor}", path="/usr/local/bin:/usr/bin") for minor in range(10, 20)]
    found = {os.path.realpath(path) for path in (*managed, *on_path) if path}
    return sorted(found - {os.path.realpath(sys.executable)})


def readable_interpreter(python: str, folder: Path) -> Path:
    """The interpreter itself, or as root, where it may lie in a closed home, a copy of its prefix in `folder`.

    The copy is made of hard links if it can be. What a function does not need is left out.
    """
    if os.getuid() != 0 or not python.startswith(("/root/", "/home/")):
        return Path(python)
    prefix = Path(python).parent.parent
    copy = folder / prefix.name
    if not copy.exists():
        shutil.copytree(prefix, copy, symlinks=True, ignore=_NOT_NEEDED, copy_function=_link_or_copy)
    return copy / "bin" / Path(python).name


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


def bare_environment(folder: Path) -> Path:
    """A virtual environment of this interpreter without pip; its python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    return folder / "bin" / "python"


def site_packages(python: Path) -> Path:
    """Where an environment keeps its libraries."""
    (found,) = python.parent.parent.glob("lib/python3.*/site-packages")
    return found


def environment_with(*requirements: str) -> Path:
    """A virtual environment with pinned requirements, made once per machine or user; its python."""
    cache = CACHE_AS_ROOT
    if os.getuid() != 0:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "forklight" / "test-runtimes"
    key = hashlib.sha256(repr((sys.version, sys.executable, requirements)).encode()).hexdigest()[:16]
    python, done = cache / key / "bin" / "python", cache / key / "done"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run of the tests may need it just now
        if not done.exists():
            _make_environment(cache / key, requirements)
            done.touch()
    return python


def _make_environment(folder: Path, requirements: tuple[str, ...]) -> None:
    print(f"installing {' '.join(requirements)} into {folder}", file=sys.__stderr__, flush=True)
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)
    python = bare_environment(folder)  # to install pip into it would take longer than the rest
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--only-binary", ":all:"]
    subprocess.run([*pip, "--disable-pip-version-check", *requirements], check=True)
    for path in folder.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)


def write_wheel(folder: Path, name: str, version: str) -> Path:
    """A wheel of one module that has `VERSION`, for installs that need no network; its path."""
    path, info = folder / f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{file},,\n" for file in (*files, f"{info}/RECORD"))
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as wheel:
        for file, text in {**files, f"{info}/RECORD": record}.items():
            wheel.writestr(file, text)
    return path


def write_uv(folder: Path) -> None:
    """A `uv` for installs as `forklight install` asks for them. To give each environment its own pip takes seconds."""
    pip = f"{sys.executable} -m pip --quiet --disable-pip-version-check --no-input --python"
    folder.mkdir()
    (folder / "uv").write_text(f"""#!/bin/sh
case $1 in
    venv) exec "$5" -I -m venv --without-pip "$6" ;;
    pip) python=$4 && shift 5 && exec {pip} "$python" install --compile --root-user-action=ignore "$@" ;;
esac
""")
    (folder / "uv").chmod(0o755)
