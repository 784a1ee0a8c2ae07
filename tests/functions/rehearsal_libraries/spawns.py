"""Leaves a child process behind."""

import subprocess

CHILD = subprocess.Popen(["sleep", "1000"])
