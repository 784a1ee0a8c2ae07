"""An import that answers its own load, with nonsense, before it is done."""

import json
import os
import socket
import stat

ANSWER = json.loads(os.environ["ANSWER"])

for name in os.listdir("/proc/self/fd"):
    try:
        if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
            socket.socket(fileno=os.dup(int(name))).send(json.dumps(ANSWER).encode())
    except OSError:
        continue


def handler(event):
    return "loaded by a liar"
