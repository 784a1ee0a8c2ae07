"""The build hook that compiles the hot modules of the server with mypyc, if `FORKLIGHT_COMPILE=1` is set.

Without it, and for `pip install -e`, the hook does nothing: the wheel is pure Python and the build needs no compiler.
pyproject.toml lists the modules. The wheel has their sources too, which tracebacks show.
"""

import contextlib
import os
import shutil
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_LIBRARY = "forklight"
"""mypyc puts the code of all modules into one shared library, `forklight__mypyc`."""


class CompileHook(BuildHookInterface[BuilderConfig]):
    """Reads `modules`, paths of files, and `requires` from the hook's table in pyproject.toml."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Return what a compiled build needs in addition: mypyc, and the libraries whose types the modules use."""
        return [*self.config["requires"], *self.metadata.core.dependencies] if self._is_wanted() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the compiled modules to the wheel, which then fits this version of Python and this platform only."""
        if version == "editable" or not self._is_wanted():
            return
        self._require_compiler()
        self._scratch = tempfile.TemporaryDirectory(prefix="forklight-compile-")  # lives until the wheel is written
        scratch = Path(self._scratch.name)
        with contextlib.chdir(self.root):  # mypyc derives the names of modules from relative paths
            _compile(self.config["modules"], scratch)
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        built = scratch / "built"
        build_data["force_include"] |= {str(path): str(path.relative_to(built)) for path in built.rglob("*.so")}

    def _is_wanted(self) -> bool:
        wanted = os.environ.get("FORKLIGHT_COMPILE", "")
        if wanted not in ("", "0", "1"):
            self.app.abort(f"FORKLIGHT_COMPILE={wanted} means nothing: set it to 1 to compile, to 0 for pure Python")
        return wanted == "1"

    def _require_compiler(self) -> None:
        compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
        header = Path(sysconfig.get_path("include"), "Python.h")
        missing = [] if shutil.which(compiler) else [f"the C compiler {compiler}"]
        missing += [] if header.is_file() else [str(header)]
        if missing:
            self.app.abort(
                f"FORKLIGHT_COMPILE=1 needs {' and '.join(missing)}. Install a C compiler and the headers of Python "
                "(Debian: apt-get install gcc libc6-dev python3-dev), or leave FORKLIGHT_COMPILE out: pure Python "
                "can do everything"
            )


def _compile(modules: list[str], scratch: Path) -> None:
    """Write the shared libraries into `scratch / "built"`, each in the folder of its package."""
    from mypyc.build import mypycify
    from setuptools import Distribution
    from setuptools.command.build_ext import build_ext

    # The project's own configuration is strict: other versions of mypy or of a library must not fail a user's build.
    options = ["--config-file=", f"--cache-dir={scratch / 'cache'}", "--follow-imports=silent"]
    extensions = mypycify(
        [*options, *modules], opt_level="1", debug_level="0", target_dir=str(scratch / "c"), group_name=_LIBRARY
    )
    build = build_ext(Distribution({"name": _LIBRARY, "ext_modules": extensions}))
    build.build_lib, build.build_temp = str(scratch / "built"), str(scratch / "objects")
    build.ensure_finalized()
    build.run()
