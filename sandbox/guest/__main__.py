"""The zygote's entry: `PYTHON -I GUEST_DIRECTORY CONTROL_FD LIFELINE_FD`. Never imported by anything.

The guest's directory leaves `sys.path` before any other code runs, so that a function may have modules of any name;
what the guest imports later it finds through its own package. `__main__` becomes an empty module: multiprocessing's
`spawn` runs the main file again in its children, and that must not be this one.
"""

import sys
from types import ModuleType

from _forklight import zygote

del sys.path[0]
sys.modules["__main__"] = ModuleType("__main__")
zygote.main(int(sys.argv[1]), int(sys.argv[2]))
