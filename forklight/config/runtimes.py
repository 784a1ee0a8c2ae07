"""The runtimes of a configuration: what runs each one's functions, and what `forklight install` makes.

A runtime with `requirements` lives in an environment under the state directory, `runtimes/<name>-<key>`. The key is a
hash of its interpreter and of the text of its requirements, so a change of either makes another environment, and
running functions keep theirs. An interpreter is the same by whatever name or virtual environment it was reached. A mark
is written last: an environment without it is incomplete and never used.
"""

import os
import re
import shlex
import sys
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

import msgspec
from msgspec import Struct

from forklight.code.command import CommandError, find_command
from forklight.code.interpreter import Interpreter, InterpreterError, ask_interpreter, find_python
from forklight.code.node import OLDEST_WITH_SNAPSHOTS, NodeError, find_node, major
from forklight.config.document import FILE_NAME, Node
from forklight.config.environment import check_variables
from forklight.config.functions import RuntimeSettings
from forklight.config.kinds import runtime_problems
from forklight.config.problem import ConfigError, Problem
from forklight.config.reader import Reader
from forklight.config.requirements import RequirementsError, read_requirements
from forklight.state.directory import state_path
from forklight.state.users import User
from sandbox.guest._forklight.wire import RUNTIME_MARK
from sandbox.launch import ONE_THREAD
from sandbox.spec import Runtime


class Environment(Struct, frozen=True):
    """What `forklight install` makes, at `path`, of the `requirements` of one runtime with its interpreter `base`."""

    runtime: str
    requirements: Path
    base: Interpreter
    path: Path
    configuration: Path = Path()
    """The absolute path of the file that has the runtime."""
    command: str = "forklight install"
    """What makes it again, from any directory."""

    @property
    def python(self) -> Path:
        return self.path / "bin/python"

    @property
    def mark(self) -> Path:
        """Written last. Its lines: the requirements and the command, for the guest's advice; the configuration."""
        return self.path / RUNTIME_MARK

    @property
    def is_ready(self) -> bool:
        return self.mark.is_file()

    @property
    def is_stale(self) -> bool:
        """Whether it does not exist, but one of this runtime for other requirements or another interpreter does."""
        of_this_runtime = re.compile(rf"{re.escape(self.runtime)}-[0-9a-f]{{12}}")
        found = self.path.parent.glob(f"*/{RUNTIME_MARK}")
        return not self.is_ready and any(of_this_runtime.fullmatch(mark.parent.name) for mark in found)


class NotInstalled(ConfigError):
    """Nothing is wrong but that these environments do not exist, which `forklight install` makes."""

    def __init__(self, problems: Iterable[Problem], environments: Iterable[Environment]) -> None:
        super().__init__(problems)
        self.environments = tuple(environments)


class Runtimes(Struct, frozen=True):
    """Runtimes by name. `environments` has those that `forklight install` makes."""

    runtimes: dict[str, Runtime] = {}
    interpreters: dict[str, Interpreter] = {}
    environments: dict[str, Environment] = {}

    def folders_of(self, runtime: str) -> tuple[Path, ...]:
        """Return the folders of an interpreter and of its libraries; none of a runtime that has a problem."""
        found = self.interpreters.get(runtime)
        return (Path(found.prefix), Path(found.base_prefix)) if found else ()


class Finder(Struct, frozen=True):
    """Finds interpreters. Appends mistakes to the problems of `reader`, with their place below `root`."""

    root: Node
    reader: Reader
    user: User | None
    state: Path
    """The state directory, which need not exist."""
    missing: list[Problem] = []
    """Those of the problems that `forklight install` would solve."""
    absent: list[Environment] = []
    """What it would make."""

    def runtimes(self, wanted: dict[str, RuntimeSettings]) -> Runtimes:
        """Return all usable runtimes. A missing or stale environment is a problem. Blocks."""
        found = Runtimes()
        for name, settings in wanted.items():
            node = self._node(name)
            check_variables(node.at("env"), settings.env, self.reader.problems)
            wrong = list(runtime_problems(settings, node))
            self.reader.problems += wrong
            if settings.kind != "python":  # also beside `python`, which is a problem
                self._add_program(name, settings, found, is_wrong=bool(wrong))
                continue
            if settings.requirements is None:
                interpreter = self._configured(name, settings)
            elif (environment := self.environment(name, settings)) is not None:
                found.environments[name] = environment
                interpreter = self._installed(environment)
            else:
                continue
            if interpreter is not None:
                found.interpreters[name] = interpreter
                found.runtimes[name] = _runtime(name, settings, interpreter)
        return found

    def _add_program(self, name: str, settings: RuntimeSettings, found: Runtimes, *, is_wrong: bool) -> None:
        """Add a runtime whose functions are another program; its zygote and templates are our own interpreter."""
        own = self._ask(Path(sys.executable), self._node(name))
        if is_wrong or own is None:
            return
        try:
            command, release = self._program(settings)
        except (NodeError, CommandError) as error:
            self.reader.problems.append(self._node(name).at(settings.kind).problem(str(error)))
            return
        if settings.snapshot and major(release) < OLDEST_WITH_SNAPSHOTS:
            told = f"takes Node.js {OLDEST_WITH_SNAPSHOTS} or later, and {command[0]} is {release}: leave it out"
            self.reader.problems.append(self._node(name).at("snapshot").problem(f"{told}, or take another"))
            return
        found.interpreters[name] = own
        found.runtimes[name] = Runtime(
            name=name,
            kind=settings.kind,
            python=own.python,
            prefix=Path(own.prefix),
            command=command,
            release=release,
            events=settings.events or "lambda",
            snapshot=settings.snapshot,
            env=settings.env,
        )

    def _program(self, settings: RuntimeSettings) -> tuple[tuple[str, ...], str]:
        """Return what runs the functions, and its version. Raises NodeError or CommandError."""
        if settings.node is None:
            command = find_command(settings.command or (), self.user)
            return command.command, command.release
        node = find_node(settings.node, self.reader.base, self.user)
        return (str(node.path),), node.version

    def environment(self, name: str, settings: RuntimeSettings) -> Environment | None:
        """Return the environment of a runtime with requirements, made or not; None if there is a problem. Blocks."""
        assert settings.requirements is not None
        base = self._configured(name, settings)
        try:
            texts = read_requirements(settings.requirements)
        except RequirementsError as error:
            self.reader.problems.append(self._node(name).at("requirements").problem(str(error)))
            return None
        if base is None:
            return None
        file = Path(self.root.file)
        return Environment(
            runtime=name,
            requirements=settings.requirements.resolve(),
            base=base,
            path=self._path(name, base, texts),
            configuration=file.resolve(),
            command=install_command(file.absolute(), self.state),
        )

    def _path(self, name: str, base: Interpreter, texts: dict[str, str]) -> Path:
        """Return where the environment is. One that version 0.1 made, whose key had the path as it was, is as good."""
        python = os.path.realpath(base.python)
        same = [python, base.version, base.cache_tag, base.base_prefix]
        path, old = (self.state / "runtimes" / f"{name}-{_key([identity, texts])}" for identity in (same, base))
        return old if (old / RUNTIME_MARK).is_file() and not (path / RUNTIME_MARK).is_file() else path

    def _installed(self, environment: Environment) -> Interpreter | None:
        place = self._node(environment.runtime).at("requirements")
        if environment.is_ready:
            return self._ask(environment.python, place)
        problem = place.problem(self._not_ready(environment))
        self.missing.append(problem)
        self.absent.append(environment)
        self.reader.problems.append(problem)
        return None

    def _configured(self, name: str, settings: RuntimeSettings) -> Interpreter | None:
        place = self._node(name).at("python")
        try:
            python = find_python(settings.python, self.reader.base) if settings.python else Path(sys.executable)
        except InterpreterError as error:
            self.reader.problems.append(place.problem(str(error)))
            return None
        return self._ask(python, place)

    def _ask(self, python: Path, place: Node) -> Interpreter | None:
        try:
            return ask_interpreter(python, self.user)
        except InterpreterError as error:
            self.reader.problems.append(place.problem(str(error)))
            return None

    def _node(self, name: str) -> Node:
        return self.root.at("runtimes").at(name)

    def _not_ready(self, environment: Environment) -> str:
        name = environment.requirements.name
        what = f"is stale, as {name} or the interpreter has changed" if environment.is_stale else "is not installed"
        return f"the runtime {environment.runtime!r} {what}; run: {install_command(Path(self.root.file), self.state)}"


def install_command(file: Path, state: Path) -> str:
    """Return the command that makes the environments of this configuration in this state directory."""
    words = ["forklight", "install"]
    if file != Path(FILE_NAME):
        words.append(str(file))
    if state != state_path(None, {}, file):
        words += ["--state", str(state)]
    return shlex.join(words)


def _key(identity: list[object]) -> str:
    return sha256(msgspec.json.encode(identity, order="deterministic", enc_hook=str)).hexdigest()[:12]


def _runtime(name: str, settings: RuntimeSettings, interpreter: Interpreter) -> Runtime:
    return Runtime(
        name=name,
        python=interpreter.python,
        prefix=Path(interpreter.prefix),
        preload=tuple(map(str, settings.preload)),
        env=ONE_THREAD | settings.env,
    )
