"""How often tests repeat what they do at random moments."""

import os

LONG = os.environ.get("FORKLIGHT_LONG_TESTS") == "1"
"""Whether the long forms run, too."""


def rounds(usual: int, long: int) -> int:
    """`long` if the environment says `FORKLIGHT_LONG_TESTS=1`."""
    return long if LONG else usual
