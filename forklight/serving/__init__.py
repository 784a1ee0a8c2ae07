"""The parts of a running server, and how they change while it runs.

- `versions.py`: functions and snapshots of their code
- `running.py`: all parts of the server as one value, which a reload replaces
- `triggers.py`: everything that makes events; `stores.py`: the stores of messages
- `reload.py`: from one configuration to the next, completely or not at all; `change.py`: what may change;
  `reloaded.py`: what came of it
- `renewal.py`: which functions a reload renews; `unread.py`: what has changed on disk since it was read
- `watching.py`: `dev` reloads when a file is saved
- `check.py`: what `forklight check` finds without running any code; `faults.py`: what is wrong with the code itself
- `once.py`: a process tree without a server, for `invoke --here` and `check --load`
- `deploying.py`: deploys, rollbacks and canaries; `deployments.py`: what is deployed, as a value; `loading.py`: from a
  package to that; `warm.py`: templates kept for a rollback; `deployment.py` and `progress.py`: what a deploy reports
- `installing.py`: environments of runtimes; `installing_deployed.py`: those of deployed applications
- `sealing.py`: copies of programs that nobody may read
- `probing.py`: the events that a new release has to do well with
- `application.py`, `strays.py`, `waiting.py`: sharing brokers, unused queues on them, waiting for them
- `systemd.py`: sockets and notifications of a service manager; `picture.py`: what SIGUSR1 prints
- `invoking.py`: the event of `forklight invoke`, and its outcome as JSON
"""
