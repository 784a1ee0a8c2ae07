"""Files of a folder: which one a path names, and the answer with it. Blocks: run `answer_file` in a thread.

A file is opened in two steps. The first (open(2), O_PATH) only finds it, whatever it is, and asks the kernel where it
truly lies; if that is within the folder, is an ordinary file and has no dot file on its way, the second opens exactly
what was found. So a symbolic link out of the folder leads nowhere, be it changed while it is looked at, and a fifo or a
device is never opened.
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
"""The reason of an answer that is a file, or says where it is."""
SMALL_BYTES = 256 * 1024
"""Up to here a file is read whole, in the same thread that opened it."""


class File(Struct, frozen=True):
    """An open file; whoever has it closes `descriptor`. `name` is its last part."""

    descriptor: int
    name: str
    size_bytes: int
    modified_ns: int

    @property
    def etag(self) -> str:
        """Changes whenever the file does: nanoseconds of its change, and its size."""
        return f'"{self.modified_ns:x}-{self.size_bytes:x}"'


def answer_file(route: StaticRoute, rest: str, head: Head) -> Answer:
    """200, 206, 304, 308, 404, 412 or 416. The answer's `content`, if it has one, must be closed. `rest` is decoded."""
    file = open_file(route.dir, rest)
    if file is None:
        if rest and not rest.endswith("/") and is_folder(route.dir, rest):
            return redirect(head)
        return problem(404, "there is no such file", reason="no_file")
    try:
        answer = _with_file(file, head, route)
    except BaseException:
        os.close(file.descriptor)
        raise
    if answer.content is None:
        os.close(file.descriptor)
    return answer


def redirect(head: Head) -> Answer:
    """To the same path with a slash at its end, so that relative links of an index lead where they should.

    Two slashes at its beginning would make a host of the first segment: they are one then.
    """
    query = f"?{head.query}" if head.query else ""
    return Answer(308, (("location", f"/{head.path.lstrip('/')}/{query}"),), reason=BY_FILES)


def open_file(folder: Path, rest: str) -> File | None:
    """The file `rest` of the folder, or the index of that folder; None: there is none that may be seen."""
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
    """Whether `rest` is a folder within it that may be seen."""
    place = _find(folder, rest)
    if place is None:
        return False
    try:
        return stat.S_ISDIR(os.fstat(place).st_mode)
    finally:
        os.close(place)


def _find(folder: Path, rest: str) -> int | None:
    """An O_PATH descriptor of what lies there; None: nothing, or nothing that may be seen."""
    parts = rest.split("/")
    if any(not part or part.startswith(".") for part in parts):
        return None
    try:
        place = os.open(folder / rest, os.O_PATH | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    try:
        root = os.path.realpath(folder)
        truly = os.path.relpath(os.readlink(f"/proc/self/fd/{place}"), root)
    except OSError:
        truly = ".."
    if any(part.startswith(".") for part in truly.split("/")):
        os.close(place)
        return None
    return place


def _with_file(file: File, head: Head, route: StaticRoute) -> Answer:
    headers = _headers(file, route)
    modified_s = file.modified_ns // 1_000_000_000
    if precondition_failed(head.headers, file.etag, modified_s):
        return problem(412, "the file is another one by now", headers=(("etag", file.etag),))
    if is_not_modified(head.headers, file.etag, modified_s):
        return Answer(304, headers, reason=BY_FILES)
    # A range is defined for GET alone: HEAD tells of the whole (RFC 9110 §14.2).
    wanted = head.headers if head.method == "GET" else {}
    chosen = choose_range(wanted, file.size_bytes, file.etag, http_date(modified_s))
    if chosen == "unsatisfiable":
        return problem(
            416, "the file ends before that range", headers=(("content-range", f"bytes */{file.size_bytes}"),)
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
    if len(body) < size_bytes:  # it was cut meanwhile: what is announced and what is sent must agree
        return problem(503, "the file changed while it was read, or could not be read", headers=(("retry-after", "1"),))
    return replace(answer, body=body, announced_bytes=size_bytes)
