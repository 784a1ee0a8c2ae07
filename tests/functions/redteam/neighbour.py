"""A function that uses what it may use, while others use up what they may not."""

import os
import subprocess
import tempfile

MIB = 1024 * 1024
calls = 0


def handler(event):
    global calls
    calls += 1
    with tempfile.TemporaryFile() as file:
        written = file.write(bytes(MIB))
    return {"pid": os.getpid(), "calls": calls, "held": len(bytearray(16 * MIB)), "written": written, "child": child()}


def child():
    return subprocess.run(["/bin/echo", "hello"], capture_output=True, text=True, check=True).stdout
