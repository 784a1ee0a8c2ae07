"""Never returns outside a call."""

import os
import time

while "IN_A_CALL" not in os.environ:
    time.sleep(1)
