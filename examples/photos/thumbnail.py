"""A message says that a photo has come in. It may come more than once, and late: what is done already is not redone."""

import io

import album
from PIL import Image, ImageDraw, ImageOps

SIZE = (480, 480)


def handler(event, context):
    photo = event["data"]["photo"]
    original = album.original(photo)
    if original is None or album.thumbnail(photo):
        context.log.info("nothing to do for %s: pruned, or done already", photo)
        return
    body = original.read_bytes()
    try:
        thumbnail = thumbnail_of(body)
    except (OSError, ValueError, SyntaxError) as error:  # what Pillow raises for bytes that make no sense
        album.add_thumbnail(photo, as_webp(broken()))
        context.reject(f"{original.name} cannot be unpacked: {error}")
    album.add_thumbnail(photo, thumbnail)


def thumbnail_of(body):
    with Image.open(io.BytesIO(body), formats=album.FORMATS) as picture:
        picture.thumbnail(SIZE)
        return as_webp(ImageOps.exif_transpose(picture))


def broken():
    """Shown in place of a picture whose bytes end too early or make no sense."""
    picture = Image.new("RGB", (240, 240), "#8a8178")
    draw = ImageDraw.Draw(picture)
    draw.line((90, 90, 150, 150), "#f6f3ee", width=8)
    draw.line((150, 90, 90, 150), "#f6f3ee", width=8)
    return picture


def as_webp(picture):
    file = io.BytesIO()
    picture.save(file, "WEBP")
    return file.getvalue()
