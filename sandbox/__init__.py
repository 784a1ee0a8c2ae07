"""Zygotes, templates and instances: the processes functions run in. Imports only `bus`.

In reading order:

- `tree.py`: everything is made when it is needed, and replaced when it dies; `places.py`, `backoff.py`, `causes.py`:
  where, when, why
- `zygote.py`, `template.py`, `instance.py`: the server's half of each kind of process
- `calls.py`: the end of a call; `lives.py`: the life of a template; both pure, both carried out by the files above
- `birth.py`: what an instance does before its first event
- `wire.py`, `control.py`: frames of calls, and messages to zygotes and templates; `bounds.py`: what both may hold
- `outcomes.py`, `stacks.py`: from the end of a call to its outcome, and to where the handler was
- `logs.py`, `log_lines.py`: a log pipe, and the lines of its bytes
- `launch.py`: how a zygote starts; `box.py`, `isolation.py`: what contains it
- `processes.py`, `memory.py`: pidfds that are verified; what an instance uses
- `channels.py`, `folders.py`, `commons.py`: what ties a process to the server, and what all of them share
- `sweep.py`: the one timer
- `spec.py`, `errors.py`: what is to be run, and why it could not be started

What it contains is bugs and ordinary hostility, not a kernel exploit; `sandbox.isolation` says what is in force.
"""
