"""What is wrong with the code of functions, found without running any of it. Blocks.

A syntax error in a module that a function imports is a problem; in any other module it is a warning, since nothing may
ever import it. Each file is compiled by the interpreters that functions of its folder run on.
"""

import json
import os
import posixpath
import subprocess
from base64 import b64encode
from collections import defaultdict
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from forklight.code import syntax
from forklight.code.archive import is_archive
from forklight.code.files import CodeFile
from forklight.code.handlers import (
    Fault,
    concurrency_fault,
    handler_fault,
    hook_fault,
    is_async_handler,
    module_fault,
)
from forklight.code.interpreter import Interpreter, installed
from forklight.code.modules import Code
from forklight.config.configuration import Config, Function
from forklight.config.problem import Problem
from forklight.state.users import User, as_user

CHECKED_WITHIN_S = 60.0
_MOST_WARNINGS = 5
_NODE_SUFFIXES = (".js", ".mjs", ".cjs", ".ts", ".mts", ".cts")
_NODE_ENDS = ("", *_NODE_SUFFIXES, *(f"/index{suffix}" for suffix in _NODE_SUFFIXES))
_HOOKS = ("init", "after_fork", "stop")


class CodeFault(Struct, frozen=True):
    """One thing that is wrong with the code. `functions` cannot run because of it; without any, it is a warning."""

    problem: Problem
    kind: Literal["syntax", "module", "handler"]
    functions: frozenset[str] = frozenset()


def code_faults(config: Config, functions: list[Function], found: list[CodeFile]) -> list[CodeFault]:
    """Return what is wrong with functions that have one code folder, in which these files were found."""
    code = Code(found)
    by_runtime: dict[str, list[Function]] = defaultdict(list)
    faults = [*_files_missing(config, functions, {file.name for file in found})]
    functions = [one for one in functions if config.runtimes[one.settings.runtime].kind == "python"]
    for function in functions:
        by_runtime[function.settings.runtime].append(function)
    broken: set[str] = set()
    for runtime, members in by_runtime.items():
        wrong = _syntax_faults(code.sources(), config.interpreters[runtime], config.user)
        broken |= wrong.keys()
        faults += _syntax_problems(wrong, members, code, config.interpreters[runtime])
    for function in functions:
        faults += _handler_faults(config, function, code, broken)
    return faults


def _files_missing(config: Config, functions: list[Function], names: set[str]) -> Iterator[CodeFault]:
    """Yield the handlers of Node.js, and the programs of commands in a zip, whose file is none of `names`."""
    for function in functions:
        runtime = config.runtimes[function.settings.runtime]
        if runtime.kind == "node":
            name = posixpath.normpath(function.settings.handler.partition(":")[0])
            ends, what, key = _NODE_ENDS, f"{name}.js (nor .mjs, .cjs)", "handler"
        elif runtime.kind == "command" and runtime.program is None and is_archive(function.code):
            name = posixpath.normpath(runtime.command[0])
            ends, what, key = ("",), name, "code"
        else:
            continue
        if not any(name + end in names for end in ends):
            found = (
                one.removesuffix(f"/{name}{end}") for one in names for end in ends if one.endswith(f"/{name}{end}")
            )
            where = function.code if function.source is None else function.source.shown
            message = f"there is no {what} in {where}{_nested(function, min(found, default=''))}"
            yield CodeFault(function.node.at(key).problem(message), "module", frozenset({function.name}))


def _syntax_problems(
    wrong: dict[str, dict[str, Any]], members: list[Function], code: Code, interpreter: Interpreter
) -> Iterator[CodeFault]:
    """Yield faults of the functions that import the files, and warnings about the first few others."""
    if not wrong:
        return
    reached = {one.name: code.reached(target.partition(":")[0] for _, target in _targets(one)) for one in members}
    unused = 0
    for name, fault in sorted(wrong.items()):
        users = frozenset(function for function, files in reached.items() if name in files)
        unused += not users
        if users or unused <= _MOST_WARNINGS:
            problem = _syntax_problem(members[0], name, fault, sorted(users), interpreter)
            yield CodeFault(problem, "syntax", users)


def _targets(function: Function) -> Iterator[tuple[str, str]]:
    """Yield the handler and the hooks: the key below the function's table, and `module:attribute`."""
    yield "handler", function.settings.handler
    for hook in _HOOKS:
        if (target := getattr(function.settings.hooks, hook)) is not None:
            yield hook, target


def _handler_faults(config: Config, function: Function, code: Code, broken: set[str]) -> Iterator[CodeFault]:
    """Yield what is wrong with the handler and the hooks, unless their module does not compile anyway."""
    may_be_async = is_async_handler(function.settings.handler, code)
    for key, target in _targets(function):
        name = target.partition(":")[0]
        place = function.node.at("handler") if key == "handler" else function.node.at("hooks").at(key)
        missing = module_fault(name, code, partial(_is_installed, config, function))
        if missing:
            advice = _nested(function, code.folder_with(name)) or missing
            where = function.code if function.source is None else function.source.shown
            message = f"there is no module {name!r} in {where}{advice}"
            yield CodeFault(place.problem(message), "module", frozenset({function.name}))
            continue
        module = code.module(name)
        if module is None or module.file.name in broken:
            continue
        if key == "handler":
            fault = handler_fault(target, code)
        else:
            fault = hook_fault(target, code, may_be_async=key == "stop" and may_be_async)
        if fault is None and key == "handler":
            fault = concurrency_fault(target, code, function.pool.concurrency)
            place = function.node.at("concurrency")
        if fault is not None:
            stopped = frozenset({function.name} if fault.is_certain else ())
            yield CodeFault(place.problem(_told(function, key, target, fault)), "handler", stopped)


def _told(function: Function, key: str, target: str, fault: Fault) -> str:
    what = "the handler" if key == "handler" else f"the hook {key} ="
    where = f" ({_shown(function, fault.file)}:{fault.line})" if fault.line else ""
    is_alone = function.node.file.endswith(".py") and fault.is_absent
    alone = "; a single file is served by its function `handler`" if is_alone else ""
    return f"{what} {target!r} {fault.message}{where}{alone}"


def _nested(function: Function, folder: str) -> str:
    """Return how to name the folder that the module is in, or nothing if it is in none."""
    if not folder:
        return ""
    if is_archive(function.code):
        return f": it is in {folder}/: zip the contents of that folder, not the folder"
    code = function.settings.code.path
    return f': it is in {folder}/: write code = "{folder if code is None else f"{code.name}/{folder}"}"'


def _is_installed(config: Config, function: Function, top: str) -> bool:
    if "PYTHONPATH" in function.env:  # it is found where that leads
        return True
    return _asked(config.interpreters[function.settings.runtime].python, top, config.user)


_asked = cache(installed)


def _syntax_faults(sources: list[CodeFile], interpreter: Interpreter, user: User | None) -> dict[str, dict[str, Any]]:
    """Return the faults by the names of the files."""
    texts = [_read(file) for file in sources]
    found = [syntax.fault(text) for text in texts] if interpreter.is_ours else _asked_faults(texts, interpreter, user)
    return {file.name: fault for file, fault in zip(sources, found, strict=False) if fault is not None}


def _read(file: CodeFile) -> bytes:
    """Return the source. What is too large to compile, or cannot be read now, passes as nothing."""
    try:
        return file.path.read_bytes() if file.size_bytes <= syntax.MOST_BYTES else b""
    except OSError:
        return b""


def _asked_faults(texts: list[bytes], interpreter: Interpreter, user: User | None) -> list[dict[str, Any] | None]:
    """Ask another interpreter. If it gives no answer in time, everything passes: the start will tell."""
    try:
        done = subprocess.run(
            [*as_user(user), str(interpreter.python), "-I", "-c", Path(syntax.__file__).read_text("utf-8")],
            input=json.dumps([b64encode(text).decode() for text in texts]).encode(),
            capture_output=True,
            cwd="/",
            env={"PATH": os.defpath},
            timeout=CHECKED_WITHIN_S,
            check=True,
        )
        found: list[dict[str, Any] | None] = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return []
    return found


def _syntax_problem(
    function: Function, name: str, fault: dict[str, Any], users: list[str], interpreter: Interpreter
) -> Problem:
    line, column = int(fault["line"]), int(fault["column"])
    who = f"the function{'s' * (len(users) > 1)} {', '.join(users)} cannot load" if users else "no function imports it"
    python = (
        "" if interpreter.is_ours else f" in Python {interpreter.version} of the runtime {function.settings.runtime!r}"
    )
    message = f"{fault['kind']}{python}: {fault['message']}: {who}"
    return Problem(_shown(function, name), line, "", message, column, str(fault["text"]))


def _shown(function: Function, name: str) -> str:
    """Return the path of a file of the code, relative to the working directory if it is below that."""
    if function.source is not None:
        return f"{function.source.shown}/{name}"
    root = function.code.parent if function.code.suffix == ".py" else function.code
    path = root / name
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
