"""Starts a child before it fails, so that there is something to clean up."""

import subprocess

subprocess.Popen(["/bin/sleep", "1000"], start_new_session=True)
raise RuntimeError("after all that")
