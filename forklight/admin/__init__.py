"""The admin API. Read `server.py` first; what only the control socket can do is in `acting.py` and `letters.py`."""

from forklight.admin.controls import Controls
from forklight.admin.server import Admin

__all__ = ["Admin", "Controls"]
