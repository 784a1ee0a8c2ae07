"""Takes 300 MB outside a call."""

import os
import time

if "IN_A_CALL" not in os.environ:
    DATA = b"x" * 300_000_000
    time.sleep(10)
