"""A picture comes in, by the page's form or as the body itself; what remains to be done goes into a message."""

import io
import warnings

import album
import gallery
from PIL import Image

MAX_PIXELS = 40_000_000
EXTENSIONS = {"JPEG": "jpeg", "MPO": "jpeg", "PNG": "png", "GIF": "gif", "WEBP": "webp"}  # MPO: of many cameras

# What is over the limit is refused here; Pillow need not warn of it as well.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)


def handler(event, context):
    of_browser = "text/html" in event["http"]["headers"].get("accept", "")
    try:
        body = picture_of(event)
        extension = checked(body)
    except ValueError as error:
        return (gallery.page(notice=str(error)), 415, gallery.HTML) if of_browser else ({"error": str(error)}, 415)
    photo = album.add(body, extension)
    # Stored with this call's success: either there is an answer and a message, or neither.
    context.send("photos", {"photo": photo})
    if of_browser:
        return "", 303, {"Location": "/"}
    return {"photo": photo, "thumbnail": f"/thumbnails/{photo}"}, 201, {"Location": f"/photos/{photo}"}


def picture_of(event):
    """The bytes of the one file in a form, else the body."""
    if not isinstance(event["data"], dict) or "files" not in event["data"]:
        return event["body"]
    match event["data"]["files"]:
        case [file]:
            return file["body"]
        case files:
            raise ValueError(f"The form has {len(files)} files; one picture at a time, please.")


def checked(body):
    """Return the extension of its format; raise ValueError for what is no picture. A broken end does not show yet."""
    try:
        picture = Image.open(io.BytesIO(body), formats=album.FORMATS)
        picture.verify()
    except Exception as error:  # Pillow: "raises suitable exceptions", of a dozen types
        raise ValueError("This is not a picture that can be read: send a JPEG, PNG, GIF or WebP.") from error
    if picture.width * picture.height > MAX_PIXELS:
        raise ValueError(f"{picture.width} by {picture.height} pixels are too many: send at most {MAX_PIXELS:,}.")
    return EXTENSIONS[picture.format]
