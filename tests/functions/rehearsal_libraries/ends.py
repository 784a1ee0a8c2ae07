"""Ends its process outside a call."""

import os

if "IN_A_CALL" not in os.environ:
    os._exit(3)
