"""Zygotes, templates and instances: the processes functions run in. Imports only `bus`.

What it contains is bugs and ordinary hostility, not a kernel exploit; `sandbox.isolation` says what is in force.
"""
