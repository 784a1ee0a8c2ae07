"""Where photos lie: the data folder, which all functions share, because instances come and go.

originals/ID.FORMAT    as uploaded
thumbnails/ID.webp     there as soon as it is made
report.json            of the last pruning

A file appears whole or not at all. Ids sort by age, and are ours: what a stranger calls a file is no part of a path.
"""

import contextlib
import json
import os
import re
import secrets
import time
from pathlib import Path

FORMATS = ("JPEG", "PNG", "GIF", "WEBP")
FOLDER = Path(os.environ["FORKLIGHT_DATA"])
ORIGINALS = FOLDER / "originals"
THUMBNAILS = FOLDER / "thumbnails"
REPORT = FOLDER / "report.json"


def add(body, extension):
    """Keep an original; return its id: 12 digits of milliseconds since the epoch, 8 that nobody can guess."""
    photo = f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(4)}"
    write(ORIGINALS / f"{photo}.{extension}", body)
    return photo


def photos():
    """The ids of all photos, newest first."""
    return sorted((path.stem for path in _files(ORIGINALS)), reverse=True)


def uploaded_at(photo):
    """Seconds since the epoch."""
    return int(photo[:12], 16) / 1000


def original(photo):
    """The path of the original, or None. Any text may be asked for."""
    return _existing(photo, *(ORIGINALS / f"{photo}.{name.lower()}" for name in FORMATS))


def thumbnail(photo):
    """The path of the thumbnail, or None."""
    return _existing(photo, THUMBNAILS / f"{photo}.webp")


def add_thumbnail(photo, body):
    write(THUMBNAILS / f"{photo}.webp", body)


def thumbnails():
    """The ids of the photos that have a thumbnail."""
    return {path.stem for path in _files(THUMBNAILS)}


def remove(photo):
    """Forget a photo. The original goes last: while it is there, this can be done again."""
    for path in (thumbnail(photo), original(photo)):
        if path:
            path.unlink(missing_ok=True)


def report():
    """The last one, or None."""
    try:
        return json.loads(REPORT.read_bytes())
    except FileNotFoundError:
        return None


def write(path, body):
    """Replace a file at once: a reader sees the old bytes or the new ones, also after a power failure."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = path.with_name(f".{secrets.token_hex(8)}")
    try:
        with unfinished.open("xb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def sweep():
    """Remove what was left by a process that was killed: half-written files, and thumbnails of what is gone."""
    an_hour_ago = time.time() - 3600
    for path in FOLDER.glob("*/.*"):
        with contextlib.suppress(FileNotFoundError):  # it has just been completed
            if path.stat().st_mtime < an_hour_ago:
                path.unlink()
    for photo in thumbnails() - set(photos()):
        remove(photo)


def size_bytes():
    """Of all originals and thumbnails."""
    return sum(path.stat().st_size for folder in (ORIGINALS, THUMBNAILS) for path in _files(folder))


def _existing(photo, *paths):
    return next((path for path in paths if path.exists()), None) if re.fullmatch("[0-9a-f]{20}", photo) else None


def _files(folder):
    """Those that are whole: while one is being written, its name begins with a dot."""
    return [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.exists() else []
