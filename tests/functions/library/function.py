"""Needs a module that only its runtime has."""

import sys

import shopkit


def handler(event):
    return {"shop": shopkit.NAME, "prefix": sys.prefix, "version": list(sys.version_info[:2])}
