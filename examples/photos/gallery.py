"""The page: every photo by its thumbnail, or a placeholder until that is there; the form; the last report."""

import time
from html import escape
from pathlib import Path
from string import Template

import album

HTML = {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store"}
PAGE = Template(Path(__file__).with_name("page.html").read_text())
REFRESH = '<meta http-equiv="refresh" content="2">'
EMPTY = '<p class="empty">No photos yet.<br>The first one is yours.</p>'


def handler(event):
    return page(), 200, HTML


def page(notice=""):
    photos, finished, now = album.photos(), album.thumbnails(), time.time()
    tiles = [tile(photo, photo in finished, now) for photo in photos]
    return PAGE.substitute(
        refresh="" if finished.issuperset(photos) or notice else REFRESH,
        notice=f'<p class="notice" role="alert">{escape(notice)}</p>' if notice else "",
        tiles=f'<ul class="tiles">{"".join(tiles)}</ul>' if tiles else EMPTY,
        report=escape(summary(album.report())),
    )


def tile(photo, is_finished, now):
    when = ago(now - album.uploaded_at(photo))
    if not is_finished:
        return f'<li><div class="pending">thumbnail pending</div><small>{when}</small></li>'
    image = f'<img src="/thumbnails/{photo}" alt="Photo, uploaded {when}" loading="lazy">'
    return f'<li><a href="/photos/{photo}">{image}</a><small>{when}</small></li>'


def ago(seconds):
    """Roughly: `3 min ago`."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit} ago"
    return "just now"


def summary(report):
    if report is None:
        return "No report yet: the timer writes one every ten minutes."
    at = report["at"][:16].replace("T", " ")
    megabytes = report["bytes"] / 1e6
    return f"{at} UTC: {report['photos']} photos of {megabytes:.1f} MB, {report['pruned']} pruned."
