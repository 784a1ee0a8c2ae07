"""Reads what its runtime has preloaded and left open."""

import opener


def handler(event):
    return opener.FILE.read()
