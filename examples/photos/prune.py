"""Every ten minutes: old photos go, and what is left is counted for the gallery."""

import json
import os
import time

import album

KEEP_PHOTOS = int(os.environ["KEEP_PHOTOS"])
KEEP_S = int(os.environ["KEEP_DAYS"]) * 24 * 3600


def handler(event, context):
    photos = album.photos()
    old = too_many_or_old(photos, time.time())
    for photo in old:
        album.remove(photo)
    album.sweep()
    report = {"at": event["time"], "photos": len(photos) - len(old), "bytes": album.size_bytes(), "pruned": len(old)}
    album.write(album.REPORT, json.dumps(report).encode())
    context.log.info("%(photos)d photos of %(bytes)d bytes, %(pruned)d pruned", report)
    return report


def too_many_or_old(photos, now):
    """Those beyond the newest KEEP_PHOTOS, and those from before KEEP_DAYS. `photos` are sorted, newest first."""
    return [
        photo for index, photo in enumerate(photos) if index >= KEEP_PHOTOS or album.uploaded_at(photo) < now - KEEP_S
    ]
