"""The bytes of an original or a thumbnail. What an id stands for never changes, so browsers may keep it."""

import album

NOT_FOUND = {"error": "There is no such photo."}, 404


def original(event):
    return response(album.original(event["http"]["params"]["photo"]))


def thumbnail(event):
    return response(album.thumbnail(event["http"]["params"]["photo"]))


def response(path):
    if path is None:
        return NOT_FOUND
    try:
        body = path.read_bytes()
    except FileNotFoundError:  # pruned just now
        return NOT_FOUND
    headers = {
        "Content-Type": f"image/{path.suffix.removeprefix('.')}",
        "Cache-Control": "private, max-age=86400, immutable",
        "X-Content-Type-Options": "nosniff",
    }
    return body, 200, headers
