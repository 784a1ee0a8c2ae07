"""The parts of a running server, and how they change while it runs.

- `versions.py`: functions and their code, as they are at one time
- `running.py`: all parts of the server as one value, which a reload replaces
- `triggers.py`: everything that makes events; `stores.py`: where messages lie
- `reload.py`: from one configuration to the next, as a whole or not at all; `change.py`: what may change
- `watching.py`: `dev` reloads what is saved
- `check.py`: what `forklight check` finds without running any code
- `once.py`: a process tree without a server, for `invoke --here` and `check --load`
- `installing.py`: environments of runtimes
- `application.py`, `strays.py`, `waiting.py`: brokers that are shared, hold forgotten queues, or are not up yet
- `systemd.py`: sockets and notifications of a service manager; `picture.py`: what SIGUSR1 prints
- `invoking.py`: the event of `forklight invoke`, and its outcome as JSON
"""
