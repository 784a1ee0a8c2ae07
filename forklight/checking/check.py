"""`forklight check`: what it finds without running any code. Blocks."""

import sys
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from forklight.checking.faults import CodeFault, code_faults
from forklight.code import archive, files
from forklight.code.databases import databases
from forklight.code.files import CodeFile, LeftOut
from forklight.code.selection import IGNORE_FILE, CodeError, select
from forklight.config.configuration import Config, Function, load
from forklight.config.problem import ConfigError, Problem
from forklight.serving.isolation import containments
from forklight.serving.pulling import is_absent, pulled
from forklight.state.directory import state_path

_MOST_NAMES = 5


class Checked(Struct, frozen=True):
    """A configuration without problems, warnings about it and the code, and what is wrong with the code."""

    config: Config
    warnings: tuple[Problem, ...]
    faults: tuple[CodeFault, ...]


def check(path: Path, environ: Mapping[str, str], state: Path | None = None) -> Checked:
    """Check the configuration and the code. `state` is the value of --state, if it was given.

    Raises ConfigError for problems of the configuration, for isolation that is asked for and cannot be had here, and
    for code that cannot be taken.
    """
    config = load(path, environ, state)
    containments(config)
    return check_code(config, config.apart | {state_path(state, environ, config.path)})


def check_code(config: Config, apart: Set[Path]) -> Checked:
    """Check the code of all functions, of which the files `apart` are none. Raises ConfigError as `check` does."""
    together: dict[Path, list[Function]] = {}
    for function in config.functions.values():
        together.setdefault(function.code, []).append(function)
    problems: list[Problem] = []
    warnings = list(config.warnings)
    faults: list[CodeFault] = []
    for folder, functions in together.items():
        try:
            if not _is_here(functions, config):
                continue
            with archive.opened(folder) as code:
                found, left_out = files.collect_all(code, apart)
                warnings += shadow_warnings(functions[0], [file.name for file in found])
                warnings += left_out_warnings(functions[0], left_out) + database_warnings(functions[0], code, found)
                faults += code_faults(config, functions, found)
        except CodeError as error:
            problems.append(functions[0].node.at("code").problem(str(error)))
    if problems:
        raise ConfigError(problems)
    warnings += [fault.problem for fault in faults if not fault.functions]
    return Checked(config, tuple(sorted(set(warnings))), tuple(fault for fault in faults if fault.functions))


def _is_here(functions: list[Function], config: Config) -> bool:
    """Return whether their code can be read; pull it, unless that is for the first event to do. Raises CodeError."""
    ahead = next((one for one in functions if one.source is not None and one.source.pull == "ahead"), None)
    if ahead is not None:
        pulled(ahead, config)
    return not is_absent(functions[0])


def shadow_warnings(function: Function, names: list[str]) -> list[Problem]:
    """Return a warning for each top-level module that is hidden by one of the standard library."""
    place = function.node.at("code")
    shadowed = sorted(modules(names) & sys.stdlib_module_names)
    advice = "has the name of a standard library module, which is imported instead: rename it"
    found = [place.problem(f"the module {name!r} {advice}") for name in shadowed]
    if "test" in modules(names):
        hides = "hides that of the standard library in its functions, and is hidden by it elsewhere: rename it"
        found.append(place.problem(f"the module 'test' {hides}"))
    return found


def file_warnings(config: Config, apart: Set[Path]) -> list[Problem]:
    """Return warnings about files of the code of all functions, taken or not. Unreadable code is reported elsewhere."""
    every = reversed(config.functions.values())
    first = {function.code: function for function in every if not is_absent(function)}
    found: list[Problem] = []
    for code, function in first.items():
        with suppress(CodeError), archive.opened(code) as opened:
            taken, left_out = files.collect_all(opened, apart)
            found += left_out_warnings(function, left_out) + database_warnings(function, opened, taken)
    return sorted(found)


def database_warnings(function: Function, code: Path, found: list[CodeFile]) -> list[Problem]:
    """Return a warning if there are databases in the code. Raises CodeError."""
    names = databases(select(code), found)
    if not names:
        return []
    what = "is a database in the code" if len(names) == 1 else "are databases in the code"
    advice = f"keep it in the data folder (data = true), or if functions only read it, {_take_in(names[0])}"
    return [function.node.at("code").problem(f"{_several(names)} {what}, of which functions read a copy: {advice}")]


def left_out_warnings(function: Function, left_out: LeftOut) -> list[Problem]:
    """Return warnings if files that the function may need were left out of the code."""
    found = []
    place = function.node.at("code")
    if names := left_out.private:
        verb = "may be secret and stays" if len(names) == 1 else "may be secret and stay"
        what = f"{_several(names)} {verb} out of the code, which every function can read"
        found.append(place.problem(f"{what}: if the function reads it itself, {_take_in(names[0])}"))
    if names := left_out.caches:
        verb = "is marked as a cache (CACHEDIR.TAG) and stays" if len(names) == 1 else "are marked as caches and stay"
        what = f"{_several(names)} {verb} out of the code"
        found.append(place.problem(f"{what}: if the function reads it, {_take_in(names[0])}"))
    return found


def _several(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more


def _take_in(name: str) -> str:
    return f"add !{name} to {IGNORE_FILE} next to the code"


def modules(names: list[str]) -> set[str]:
    """Return the top-level modules among file names: `a.py`, `b/__init__.py`, and folders with a module in them."""
    return {name.split("/")[0].removesuffix(".py") for name in names if name.endswith(".py")}
