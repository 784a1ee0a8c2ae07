"""Modules of the function that are named like ours."""

import sys

import bus
import forklight
import sandbox
import triggers


def handler(event):
    import json

    names = [module.NAME for module in (bus, forklight, sandbox, triggers)]
    ours = sorted(name for name in sys.modules if name.partition(".")[0] in {"_forklight", "dispatcher", "zygote"})
    return {"names": names, "path": sys.path, "json": json.__name__ + json.dumps([1]), "main": vars(sys.modules["__main__"]).get("__file__"), "ours": ours[:1]}
