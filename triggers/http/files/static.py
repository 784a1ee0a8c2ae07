"""Finds the file that a path names, and answers with it. Blocks: run `answer_file` in a thread.

A file is opened in two steps. The first (open(2), O_PATH) only finds it, whatever it is, and the kernel says where it
really is. If that is inside the folder, a regular file and without a dot file on the way, the second step opens exactly
what was found. So a symbolic link cannot lead out of the folder, even if it changes meanwhile, and a fifo or device is
never opened.
"""

import os
import stat
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from triggers.http.answers import Answer, Content
from triggers.http.files.ranges import ContentRange, choose_range, is_not_modified, precondition_failed
from triggers.http.files.types import content_type
from triggers.http.head import Head
from triggers.http.problems import problem
from triggers.http.settings import StaticRoute
from triggers.http.stamps import http_date

INDEX = "index.html"
BY_FILES = "files"
"""The reason in the record of a file, or a redirect to one."""
SMALL_BYTES = 256 * 1024
"""Up to this size a file is read whole, by the thread that opened it."""


class File(Struct, frozen=True):
    """An open file, whose owner closes `descriptor`. `name` is without folders."""

    descriptor: int
    name: str
    size_bytes: int
    modified_ns: int

    @property
    def etag(self) -> str:
        """Made of the nanoseconds of the last modification and the size."""
        return f'"{self.modified_ns:x}-{self.size_bytes:x}"'


def answer_file(route: StaticRoute, rest: str, head: Head) -> Answer:
    """Answer 200, 206, 304, 308, 404, 412 or 416. `rest` is decoded. The caller closes `content`, if there is one."""
    file = open_file(route.dir, rest)
    if file is None:
        if rest and not rest.endswith("/") and is_folder(route.dir, rest):
            return redirect(head)
        return problem(404, "no such file", reason="no_file")
    try:
        answer = _with_file(file, head, route)
    except BaseException:
        os.close(file.descriptor)
        raise
    if answer.content is None:
        os.close(file.descriptor)
    return answer


def redirect(head: Head) -> Answer:
    """Redirect to the same path with a slash at its end, so that relative links in an index work.

    Leading slashes become one, because `//x/` would name the host `x`.
    """
    query = f"?{head.query}" if head.query else ""
    return Answer(308, (("location", f"/{head.path.lstrip('/')}/{query}"),), reason=BY_FILES)


def open_file(folder: Path, rest: str) -> File | None:
    """Open the file `rest` of the folder, or the index of a folder in it; None if there is none to serve."""
    place = _find(folder, rest + INDEX if not rest or rest.endswith("/") else rest)
    if place is None:
        return None
    try:
        found = os.fstat(place)
        if not stat.S_ISREG(found.st_mode):
            return None
        descriptor = os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    finally:
        os.close(place)
    name = rest.rpartition("/")[2] or INDEX
    return File(descriptor, name, found.st_size, found.st_mtime_ns)


def is_folder(folder: Path, rest: str) -> bool:
    """Whether `rest` is a folder that may be served."""
    place = _find(folder, rest)
    if place is None:
        return False
    try:
        return stat.S_ISDIR(os.fstat(place).st_mode)
    finally:
        os.close(place)


def _find(folder: Path, rest: str) -> int | None:
    """Return an O_PATH descriptor; None if nothing is there, or nothing that may be served."""
    parts = rest.split("/")
    if any(not part or part.startswith(".") for part in parts):
        return None
    try:
        place = os.open(folder / rest, os.O_PATH | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    try:
        root = os.path.realpath(folder)
        real = os.path.relpath(os.readlink(f"/proc/self/fd/{place}"), root)
    except OSError:
        real = ".."
    if any(part.startswith(".") for part in real.split("/")):
        os.close(place)
        return None
    return place


def _with_file(file: File, head: Head, route: StaticRoute) -> Answer:
    headers = _headers(file, route)
    modified_s = file.modified_ns // 1_000_000_000
    if precondition_failed(head.headers, file.etag, modified_s):
        return problem(412, "the file has changed", headers=(("etag", file.etag),))
    if is_not_modified(head.headers, file.etag, modified_s):
        return Answer(304, headers, reason=BY_FILES)
    # Ranges are defined for GET only; HEAD describes the whole file (RFC 9110 §14.2).
    wanted = head.headers if head.method == "GET" else {}
    chosen = choose_range(wanted, file.size_bytes, file.etag, http_date(modified_s))
    if chosen == "unsatisfiable":
        return problem(
            416,
            "the range starts after the end of the file",
            headers=(("content-range", f"bytes */{file.size_bytes}"),),
        )
    whole = Answer(200, (("content-type", content_type(file.name)), *headers), reason=BY_FILES)
    if isinstance(chosen, ContentRange):
        partial = replace(
            whole, status=206, headers=(*whole.headers, ("content-range", chosen.header(file.size_bytes)))
        )
        return _filled(partial, file, chosen.start, chosen.size_bytes)
    return _filled(whole, file, 0, file.size_bytes)


def _headers(file: File, route: StaticRoute) -> tuple[tuple[str, str], ...]:
    headers = (
        ("etag", file.etag),
        ("last-modified", http_date(file.modified_ns // 1_000_000_000)),
        ("accept-ranges", "bytes"),
        ("x-content-type-options", "nosniff"),
    )
    if route.max_age_s is None:
        return headers
    return (*headers, ("cache-control", f"max-age={int(route.max_age_s)}"))


def _filled(answer: Answer, file: File, start: int, size_bytes: int) -> Answer:
    content = Content(file.descriptor, start, size_bytes)
    if size_bytes > SMALL_BYTES:
        return replace(answer, content=content)
    body = content.read(0, size_bytes)
    if len(body) < size_bytes:  # truncated meanwhile: the announced length must be that of the body
        return problem(
            503, "the file changed while it was being read, or could not be read", headers=(("retry-after", "1"),)
        )
    return replace(answer, body=body, announced_bytes=size_bytes)
