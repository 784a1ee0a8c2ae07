"""Every ten minutes: old photos go, and what is left is counted for the gallery."""

import json
import os
import time

import album

KEEP_PHOTOS = int(os.environ["KEEP_PHOTOS"])
KEEP_S = int(os.environ["KEEP_DAYS"]) * 24 * 3600


def handler(event, context):
    photos, now = album.photos(), time.time()
    old = too_many_or_old(photos, now)
    for photo in old:
        album.remove(photo)
    album.sweep()
    for photo in overdue(set(photos) - set(old) - album.thumbnails(), now):
        context.send("photos", {"photo": photo})
    report = {"at": event["time"], "photos": len(photos) - len(old), "bytes": album.size_bytes(), "pruned": len(old)}
    album.write(album.REPORT, json.dumps(report).encode())
    context.log.info("%(photos)d photos of %(bytes)d bytes, %(pruned)d pruned", report)
    return report


def too_many_or_old(photos, now):
    """Those beyond the newest KEEP_PHOTOS, and those from before KEEP_DAYS. `photos` are sorted, newest first."""
    return [
        photo for index, photo in enumerate(photos) if index >= KEEP_PHOTOS or album.uploaded_at(photo) < now - KEEP_S
    ]


def overdue(pending, now):
    """Those whose message has probably never been stored: the upload was answered with an error."""
    return [photo for photo in sorted(pending) if album.uploaded_at(photo) < now - 600]
