"""Read-only snapshots of code: staged under a temporary name, byte-compiled, published by one rename. All block."""

import errno
import json
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator, Set
from contextlib import ExitStack, contextmanager
from pathlib import Path

from forklight.code import archive, bytecode, files
from forklight.code.files import Contents
from forklight.code.interpreter import Interpreter
from forklight.code.selection import CodeError
from forklight.state.directory import remove_tree
from forklight.state.users import User, as_user

COMPILED_WITHIN_S = 120.0
"""About how long compiling 250 MB of Python takes."""
ATTEMPTS = 5
"""How often code is listed anew because files vanish while it is copied."""


def as_written(text: str, snapshot: Path, folder: Path | None = None) -> str:
    """Return a message or a traceback that names files of the code, and not those of its snapshot. Pure.

    They are as in `folder`, which its reader edits, or relative to the code.
    """
    shown = "" if folder is None else f"{folder}/"
    return text.replace(f"{snapshot.as_uri()}/", shown).replace(f"{snapshot}/", shown)


class Staged:
    """A private, writable copy of some code. `digest` is the hash of its `contents`.

    What is the same in the snapshot `earlier` is a link to that, and must not be written to.
    """

    def __init__(self, path: Path, contents: Contents, earlier: Path | None = None) -> None:
        self.path = path
        self.contents = contents
        self.digest = files.digest_of(contents)
        self._earlier = earlier

    def compile(self, interpreter: Interpreter, user: User | None) -> None:
        """Store a .pyc beside each module, compiled by `interpreter`, as `user` unless it is our own."""
        sources = [source for source in _modules(self.path) if not self._link_compiled(source, interpreter)]
        for target, content in _compile(self.path, sources, interpreter, user):
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(content)

    def _link_compiled(self, source: Path, interpreter: Interpreter) -> bool:
        """Return whether `source` is a link to the earlier snapshot, whose .pyc is linked too."""
        if self._earlier is None:
            return False
        before = self._earlier / source.relative_to(self.path)
        target = _compiled(source, interpreter)
        try:
            if not before.samefile(source):
                return False
            target.parent.mkdir(exist_ok=True)
            os.link(_compiled(before, interpreter), target)
        except OSError:
            return False
        return True

    def publish(self, final: Path) -> None:
        """Make a read-only copy at `final` in one step. Its files are links to the staged ones.

        Names of snapshots are hashes: where another thread has made one meanwhile, it is the same.
        """
        with _temporary_folder(final.parent) as new:
            shutil.copytree(self.path, new, copy_function=os.link, dirs_exist_ok=True)
            _seal(new)
            try:
                new.rename(final)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise


def compile_more(snapshot: Path, interpreter: Interpreter, user: User | None) -> None:
    """Store a .pyc beside each module of a snapshot in use that has none for `interpreter` yet. Raises CodeError."""
    sources = [source for source in _modules(snapshot) if not _compiled(source, interpreter).exists()]
    for target, content in _compile(snapshot, sources, interpreter, user):
        with _opened(target.parent.parent):
            target.parent.mkdir(exist_ok=True)
        with _opened(target.parent):
            new = target.with_suffix(".new")
            new.unlink(missing_ok=True)  # read-only, from a server that was killed just here
            new.write_bytes(content)
            new.chmod(0o444)
            new.replace(target)  # whoever imports the module meanwhile finds no file, or a whole one


@contextmanager
def _opened(folder: Path) -> Iterator[None]:
    """A folder of a snapshot that can be written to."""
    folder.chmod(0o755)
    try:
        yield
    finally:
        folder.chmod(0o555)


def _modules(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if path.is_file())


def _compiled(source: Path, interpreter: Interpreter) -> Path:
    return source.parent / "__pycache__" / f"{source.stem}.{interpreter.cache_tag}.pyc"


def _compile(
    root: Path, sources: list[Path], interpreter: Interpreter, user: User | None
) -> Iterator[tuple[Path, bytes]]:
    """Yield the path and the content of each .pyc. Without one for what does not compile."""
    names = [(str(path), str(path.relative_to(root))) for path in sources]
    if interpreter.is_ours:
        contents: Iterator[bytes] = (bytecode.pyc(Path(name).read_bytes(), shown) for name, shown in names)
    else:
        contents = _compiled_by(interpreter, user, names)
    for source, content in zip(sources, contents, strict=True):
        if content:
            yield _compiled(source, interpreter), content


@contextmanager
def staged(code: Path, apart: Set[Path], parent: Path, earlier: Path | None = None) -> Iterator[Staged]:
    """Copy `code` (a directory, a zip or a single file), but for `apart`, to a folder in `parent`, gone at the end.

    `earlier` is a snapshot of what the code was, made for the same interpreter, on the same disk. Raises CodeError.
    """
    with ExitStack() as stack:
        with archive.opened(code, parent) as unpacked:
            for attempt in range(1, ATTEMPTS + 1):
                folder = stack.enter_context(_temporary_folder(parent))
                try:
                    contents = _copied(unpacked, apart, folder, earlier)
                    break
                except files.Vanished:
                    if attempt == ATTEMPTS:
                        raise
        yield Staged(folder, contents, earlier)


def _copied(code: Path, apart: Set[Path], folder: Path, earlier: Path | None) -> Contents:
    root = code if code.is_dir() else code.parent
    return files.copy(files.collect(code, apart), folder, root, earlier=earlier)


@contextmanager
def _temporary_folder(parent: Path) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=".new-", dir=parent))
    folder.chmod(0o755)  # the folder around it keeps others out, and the compiling user must pass
    try:
        yield folder
    finally:
        remove_tree(folder)


def _seal(directory: Path) -> None:
    for folder, _, names in os.walk(directory):
        for name in names:
            path = Path(folder, name)
            path.chmod(0o555 if path.stat().st_mode & 0o100 else 0o444)
        Path(folder).chmod(0o555)


def _compiled_by(interpreter: Interpreter, user: User | None, names: list[tuple[str, str]]) -> Iterator[bytes]:
    program = Path(bytecode.__file__).read_text("utf-8")
    try:
        done = subprocess.run(
            [*as_user(user), str(interpreter.python), "-I", "-c", program],
            input=json.dumps(names).encode(),
            capture_output=True,
            cwd="/",
            env={"PATH": os.defpath},
            timeout=COMPILED_WITHIN_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise CodeError(f"{interpreter.python} could not byte-compile the code: {error}") from error
    output = memoryview(done.stdout)
    while output:
        (length,) = struct.unpack_from(">I", output)
        yield bytes(output[4 : 4 + length])
        output = output[4 + length :]
