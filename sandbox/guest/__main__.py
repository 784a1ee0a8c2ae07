"""The entry of a zygote, `PYTHON -I GUEST_DIRECTORY CONTROL_FD LIFELINE_FD`, or with `forward` of a forwarder.

Never imported. The guest's directory leaves `sys.path` before any other code runs, so that a function can have modules
of any name; the guest finds its own modules through its package. `__main__` becomes an empty module, because
multiprocessing's `spawn` runs the main file again in its children, and that must not be this file.
"""

import sys
from types import ModuleType

from _forklight import at_fork, zygote  # noqa: F401 - first at_fork, before anything imports threading

del sys.path[0]
sys.modules["__main__"] = ModuleType("__main__")
if sys.argv[3:]:
    from _forklight import forwarder

    forwarder.main(int(sys.argv[1]), int(sys.argv[2]))
zygote.main(int(sys.argv[1]), int(sys.argv[2]))
