"""Fails outside a call, after it has imported another module."""

import os

import good  # noqa: F401

if "IN_A_CALL" not in os.environ:
    raise RuntimeError("no call\x1b[31m")
