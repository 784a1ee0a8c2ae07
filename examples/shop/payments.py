"""The payment provider's webhook: it tells that an order is paid, signed with a secret that both sides know.

    Shop-Signature: t=1764065400,v1=HEX    HMAC-SHA256 of "1764065400." and the body

The time is part of what is signed, so that nobody can send a request again that they have overheard: it must be from
the last five minutes. A provider repeats a request until it gets a 2xx, so that each may come several times.
"""

import hashlib
import hmac
import os
import re
import time
from typing import TYPE_CHECKING

import clock
import msgspec
from database import query

if TYPE_CHECKING:
    from forklight.types import Context, HttpEvent

TOLERANCE_S = 300


class Payment(msgspec.Struct, frozen=True):
    """Of all that the provider tells, what we need."""

    type: str
    order: str


def webhook(event: "HttpEvent", context: "Context") -> object:
    if not is_genuine(event["http"]["headers"].get("shop-signature", ""), event["body"], time.time()):
        return {"error": "the signature is missing, wrong or too old"}, 401
    try:
        payment = msgspec.json.decode(event["body"], type=Payment)
    except msgspec.DecodeError as error:
        return {"error": str(error)}, 400
    if payment.type != "payment.succeeded":
        return None  # providers add types: what is not for us is accepted
    query("UPDATE orders SET status = 'paid', paid_at = ? WHERE id = ? AND status = 'new'", clock.now(), payment.order)
    if not query("SELECT id FROM orders WHERE id = ?", payment.order):
        return {"error": "no such order"}, 404
    # Also for a repetition: the first time, the message may not have been stored. Shipping is done once all the same.
    context.send("paid", {"order": payment.order}, id=f"paid-{payment.order}")
    return None


def is_genuine(header: str, body: bytes, now_s: float) -> bool:
    found = re.fullmatch(r"t=([0-9]{1,12}),v1=([0-9a-f]{64})", header)
    if found is None or abs(now_s - int(found[1])) > TOLERANCE_S:
        return False
    # compare_digest takes the same time wherever two texts differ: the time tells nothing about the signature.
    return hmac.compare_digest(signature(int(found[1]), body), found[2])


def signature(time_s: int, body: bytes) -> str:
    secret = os.environ["PAYMENT_SECRET"].encode()
    return hmac.new(secret, b"%d." % time_s + body, hashlib.sha256).hexdigest()
