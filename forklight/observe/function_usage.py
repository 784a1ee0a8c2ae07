"""What functions have held and used so far, gathered from the dispatcher, the process tree and /proc."""

import os
import time

from dispatcher.dispatcher import Dispatcher
from forklight.observe.status import Usage
from forklight.observe.usage import Living, usage
from sandbox import processes
from sandbox.tree import Tree


def usage_now(dispatcher: Dispatcher, tree: Tree) -> Usage:
    """Return the usage since the start of the server. Reads /proc once per live process."""
    now = Living(
        cpu_ns=tree.cpu_ns(),
        zygotes_cpu_ns=sum(processes.cpu_ns(zygote.pid, alone=True) for zygote in tree.zygotes()),
        server_cpu_ns=time.process_time_ns(),
        server_kb=processes.memory_kb(os.getpid()) or 0,
    )
    return usage(tree.meters, dispatcher.records, dispatcher.records.retired, now, time.monotonic_ns())
