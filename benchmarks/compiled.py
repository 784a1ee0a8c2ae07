"""The checkout as a compiled wheel has it: built once for the same sources, and kept."""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from benchmarks.heavy import cache_folder

_ROOT = Path(__file__).resolve().parent.parent
_PACKAGES = ("bus", "triggers", "dispatcher", "sandbox", "forklight")


def compiled() -> Path | None:
    """A folder for PYTHONPATH; None if it cannot be compiled here, which standard error explains."""
    sources = [_ROOT / "pyproject.toml", _ROOT / "hatch_build.py"]
    sources += sorted(path for package in _PACKAGES for path in (_ROOT / package).rglob("*.py"))
    key = hashlib.sha256(b"".join(path.read_bytes() for path in sources) + sys.version.encode()).hexdigest()[:8]
    folder = cache_folder() / f"compiled-{key}"
    if not folder.exists():
        with tempfile.TemporaryDirectory() as wheels:
            command = (sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", wheels)
            built = subprocess.run(command, cwd=_ROOT, env=os.environ | {"FORKLIGHT_COMPILE": "1"}, check=False)
            if built.returncode:
                return None
            zipfile.ZipFile(next(Path(wheels).iterdir())).extractall(folder)
    return folder
