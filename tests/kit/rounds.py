"""How often tests repeat what they do at random moments."""

import os


def rounds(usual: int, long: int) -> int:
    """`long` if the environment says `FORKLIGHT_LONG_TESTS=1`."""
    return long if os.environ.get("FORKLIGHT_LONG_TESTS") == "1" else usual
