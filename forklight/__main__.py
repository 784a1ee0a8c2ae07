"""`python -m forklight`: the same as the command `forklight`.

Python puts the working directory first in `sys.path` for `-m`. That is an application's folder, whose modules may be
called anything, so it leaves again unless it is where Forklight itself lies.
"""

import os
import sys

if sys.path[:1] == [os.getcwd()] != [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]:
    del sys.path[0]

from forklight.cli import main

if __name__ == "__main__":
    main()
