"""Why an event had to wait: why there was no template, say, as a code; `forklight/commands` puts it into words."""

from typing import Literal

from msgspec import Struct


class Cause(Struct, frozen=True):
    """A code, with a detail that depends on it:

    - `new`: nothing had needed the process before, or its first start was under way
    - `ended`: its predecessor ended; the detail says how
    - `unneeded`: its predecessor was stopped because no function of the runtime needed it
    - `unforkable`: each instance loads the function itself; the detail says what the import left behind
    - `rested`: the function was at rest; the detail is after how many seconds. Set by the dispatcher
    - `start_failed`: an earlier start failed; the detail is its error. Set by the dispatcher
    - `no_room`: other functions had all that the machine has; the detail is the limit. Set by the dispatcher
    - `key`: the one instance of its key was busy; the detail is what the key is. Set by the dispatcher
    - `other_key`: another version of the function had events of its key. Set by the dispatcher
    - `other_version`: other versions of the function had its instances. Set by the dispatcher
    """

    code: (
        Literal["new", "ended", "unneeded", "unforkable", "rested", "start_failed", "no_room", "key"]
        | Literal["other_key", "other_version"]
    )
    detail: str = ""
