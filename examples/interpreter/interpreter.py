"""Runs a piece of code and answers with what it printed, the value of its last line, its error, and the files it made.

The request is JSON, `{"code": "…", "files": {"name": "text" or {"base64": "…"}}}`, or a form with a field `code` and
uploaded files. Code that fails is no failure of ours: the answer is 200 with `error`. What ends the process is one: too
much time (504), too much memory (502), a crash (502).
"""

import ast
import base64
import contextlib
import linecache
import os
import sys
import tempfile
import traceback
from pathlib import Path

MAX_OUTPUT_BYTES = 256 * 1024
MAX_FILES_BYTES = 4 * 1024 * 1024
"""Of all files of an answer together; base64 makes them a third longer, and `max_result` is 6 MiB."""

session_names = {"__name__": "__main__"}
"""The variables of the session, because `reuse` gives each session an instance of its own."""


def run(event, context):
    """Run a piece of code that shares nothing with any other."""
    return answer(event, context, {"__name__": "__main__"})


def session(event, context):
    """Run the next piece of a session's code."""
    return answer(event, context, session_names)


def answer(event, context, names):
    try:
        code, files = request(event["data"])
    except (ValueError, TypeError) as error:
        return {"error": f"the request cannot be read: {error}"}, 400
    folder = Path(tempfile.gettempdir(), "files")  # private to this process, and gone with it
    folder.mkdir(exist_ok=True)
    os.chdir(folder)
    for name, body in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    before = stamps(folder)
    with tempfile.TemporaryFile() as output:
        with printing_to(output):
            value, error = execute(code, names, context)
        text = printed(output)
    made = [path for path, stamp in stamps(folder).items() if before.get(path) != stamp]
    return {"output": text, "value": value, "error": error, **contents(folder, sorted(made))}


def request(data):
    """Return the code and the files, name to bytes. Raises ValueError and TypeError."""
    if not isinstance(data, dict):
        raise TypeError("it must be a JSON object or a form")
    if isinstance(data.get("fields"), dict):  # a form
        code = data["fields"].get("code")
        files = {file["filename"]: file["body"] for file in data["files"]}
    else:
        code = data.get("code")
        files = {name: unpacked(content) for name, content in data.get("files", {}).items()}
    if not isinstance(code, str):
        raise TypeError("'code' must be text")
    for name in files:
        if not name or Path(name).is_absolute() or ".." in Path(name).parts:
            raise ValueError(f"{name!r} is no name of a file below the working directory")
    return code, files


def unpacked(content):
    return content.encode() if isinstance(content, str) else base64.b64decode(content["base64"], validate=True)


def execute(code, names, context):
    """Run `code`; return the representation of its last expression, if it ends with one, and the error, if it fails."""
    linecache.cache["<code>"] = len(code), None, code.splitlines(keepends=True), "<code>"  # tracebacks show its lines
    try:
        tree = ast.parse(code, "<code>")
        last = ast.Expression(tree.body.pop().value) if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, "<code>", "exec"), names)  # noqa: S102  it is what this function is for
        value = None if last is None else eval(compile(last, "<code>", "eval"), names)  # noqa: S307
        return None if value is None else repr(value), None
    except SystemExit as end:
        if context.remaining_ms() <= 0:  # it is the timeout that ends this process
            raise
        return None, f"SystemExit: {end.code}"
    except SyntaxError as error:
        return None, "".join(traceback.format_exception_only(error))
    except BaseException as error:
        return None, "".join(traceback.format_exception(type(error), error, error.__traceback__.tb_next))


@contextlib.contextmanager
def printing_to(output):
    """Write what the code and its child processes print to a file, which takes any amount until `scratch` is full."""
    kept = os.dup(1), os.dup(2)
    try:
        for stream in (1, 2):
            os.dup2(output.fileno(), stream)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for stream, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, stream)
            os.close(copy)


def printed(output):
    size = output.seek(0, os.SEEK_END)
    output.seek(0)
    text = output.read(MAX_OUTPUT_BYTES).decode(errors="replace")
    return text if size <= MAX_OUTPUT_BYTES else f"{text}\n[{size - MAX_OUTPUT_BYTES} more bytes]"


def stamps(folder):
    """By path, what changes whenever a file is written."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            status = path.stat()
            found[path] = (status.st_mtime_ns, status.st_size, status.st_ino)
    return found


def contents(folder, paths):
    """Return the files in base64, and the names of those that would be too much."""
    files, left_out, room = {}, [], MAX_FILES_BYTES
    for path in paths:
        name, size = str(path.relative_to(folder)), path.stat().st_size
        if size > room:
            left_out.append(name)
        else:
            files[name] = {"base64": base64.b64encode(path.read_bytes()).decode()}
            room -= size
    return {"files": files, "left_out": left_out}
