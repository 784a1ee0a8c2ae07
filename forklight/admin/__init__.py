"""The admin API. Read `server.py` first; what only the control socket can do is in `acting.py` and `letters.py`."""
