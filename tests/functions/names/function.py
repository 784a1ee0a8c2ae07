"""Modules of the function that are named like ours."""

import site
import sys
import time

import bus
import forklight
import sandbox
import test
import triggers


def handler(event):
    names = [module.NAME for module in (bus, forklight, sandbox, triggers)]
    ours = sorted(name for name in sys.modules if name.partition(".")[0] in {"_forklight", "dispatcher", "zygote"})
    return {"names": names, "path": sys.path, "test": test.NAME, "main": vars(sys.modules["__main__"]).get("__file__"), "ours": ours[:1], "built in": [hasattr(site, "NAME"), hasattr(time, "NAME")]}
