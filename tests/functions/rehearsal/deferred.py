"""A module that only the handler imports: its author wants it made anew by each process."""

import colorsys  # noqa: F401
import os

MADE_BY = os.getpid()
