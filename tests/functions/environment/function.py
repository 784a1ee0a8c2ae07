"""What a function sees of its environment, at import and in the handler."""

import datetime
import locale
import os
import shutil
import subprocess
import sys
import time
import warnings

AT_IMPORT = dict(os.environ)


def handler(event):
    return {"at_import": AT_IMPORT, "now": dict(os.environ), "pid": os.getpid()}


def effects(event):
    """What the variables did to the process."""
    try:
        import from_pythonpath

        lib = from_pythonpath.NAME
    except ImportError:
        lib = None
    warning = None
    if "PYTHONWARNINGS" in os.environ:
        try:
            warnings.warn("now", UserWarning, stacklevel=1)
        except UserWarning:
            warning = "raised"
    return {
        "hour": datetime.datetime.fromtimestamp(0).hour,
        "tzname": list(time.tzname),
        "child": subprocess.run(["date", "-d", "@0", "+%H"], capture_output=True, text=True).stdout.strip(),
        "encoding": locale.getpreferredencoding(False).lower(),
        "lib": lib,
        "warning": warning,
        "writes_bytecode": not sys.dont_write_bytecode,
        "python": shutil.which("python3"),
    }
