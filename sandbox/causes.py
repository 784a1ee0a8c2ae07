"""Why an event found no template or no zygote: a code, which whoever tells people puts into words."""

from typing import Literal

from msgspec import Struct


class Cause(Struct, frozen=True):
    """The code, and what it leaves open:

    - `new`: nothing had needed it before, or it was being made for the first time
    - `ended`: the one before it did; how
    - `unneeded`: no function of its runtime needed it any more
    - `unforkable`: each instance is loaded by itself; what the import left behind
    - `rested`: the function was at rest; after how many seconds. Set by the dispatcher, as is the next
    - `start_failed`: a start before that; its error
    """

    code: Literal["new", "ended", "unneeded", "unforkable", "rested", "start_failed"]
    detail: str = ""
