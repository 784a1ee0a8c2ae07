"""Content types by file name, the same on every machine because the machine's own table is not read."""

from functools import lru_cache
from mimetypes import MimeTypes

_TYPES = MimeTypes()  # reads no file of the machine; `mimetypes.init` would
_NEWER = {
    ".avif": "image/avif",
    ".js": "text/javascript",
    ".map": "application/json",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".toml": "application/toml",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
}
_PACKED = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}
_TEXTUAL = frozenset(("application/json", "application/manifest+json", "application/xml", "image/svg+xml"))

for _suffix, _type in _NEWER.items():
    _TYPES.add_type(_type, _suffix)


@lru_cache(maxsize=1024)
def content_type(name: str) -> str:
    """The content type of a file name. Text is UTF-8; `x.tar.gz` is a gzip file."""
    found, encoding = _TYPES.guess_type(f"/{name}")
    if encoding is not None:
        return _PACKED.get(encoding, "application/octet-stream")
    if found is None:
        return "application/octet-stream"
    return f"{found}; charset=utf-8" if found.startswith("text/") or found in _TEXTUAL else found
