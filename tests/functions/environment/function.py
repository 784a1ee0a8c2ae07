"""What a function sees of its environment, at import and in the handler."""

import os

AT_IMPORT = dict(os.environ)


def handler(event):
    return {"at_import": AT_IMPORT, "now": dict(os.environ), "pid": os.getpid()}
