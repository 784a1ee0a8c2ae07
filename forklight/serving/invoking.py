"""The event of `forklight invoke`, and its outcome as JSON and back."""

from base64 import b64decode
from typing import Any

import msgspec

from bus import CallSection, Event, Failed, Ok, Outcome


def cli_event(function: str, body: bytes, content_type: str | None) -> Event:
    """Return the event of an invocation from the command line."""
    return Event(
        source="/forklight/cli",
        type="forklight.call",
        datacontenttype=content_type,
        body=body,
        function=function,
        call=CallSection(caller="cli"),
    )


def outcome_as_json(outcome: Outcome) -> bytes:
    """Encode the outcome's fields, and `ok`. A body that is not UTF-8 is `body_base64` instead of `body`."""
    fields: dict[str, object] = {"ok": isinstance(outcome, Ok)} | msgspec.structs.asdict(outcome)
    if isinstance(outcome, Ok):
        try:
            fields["body"] = outcome.body.decode()
        except UnicodeDecodeError:
            fields["body_base64"] = fields.pop("body")
    return msgspec.json.encode(fields)


def outcome_from_json(text: bytes) -> Outcome:
    """Decode the outcome. Raises msgspec.DecodeError."""
    fields: dict[str, Any] = msgspec.json.decode(text)
    if not fields.pop("ok"):
        return msgspec.convert(fields, Failed)
    encoded = fields.pop("body_base64", None)
    fields["body"] = fields["body"].encode() if encoded is None else b64decode(encoded)
    return msgspec.convert(fields, Ok, builtin_types=(bytes,))
