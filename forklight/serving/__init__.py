"""The parts of a running server, and how they change while it runs.

- `versions.py`: functions and snapshots of their code
- `running.py`: all parts of the server as one value, which a reload replaces
- `triggers.py`: everything that makes events; `stores.py`: the stores of messages
- `reload.py`: from one configuration to the next, completely or not at all; `change.py`: what may change;
  `reloaded.py`: what came of it
- `renewal.py`: which functions a reload renews; `unread.py`: what has changed on disk since it was read
- `watching.py`: `dev` reloads when a file is saved
- `once.py`: a process tree without a server, for `invoke --here` and `check --load`
- `deployments.py`: what is deployed, as a value; `loading.py`: from a package to that; `deployment.py`: what a deploy
  reports
- `installing.py`: environments of runtimes
- `sealing.py`: copies of programs that nobody may read
- `application.py`, `strays.py`, `waiting.py`: sharing brokers, unused queues on them, waiting for them
- `systemd.py`: sockets and notifications of a service manager; `picture.py`: what SIGUSR1 prints
- `invoking.py`: the event of `forklight invoke`, and its outcome as JSON
"""
