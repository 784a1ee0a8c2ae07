"""From an event to its function, its pool, an instance and an outcome. Imports only `bus` and `sandbox`.

In reading order:

- `dispatcher.py`: finds the function; drains
- `call.py`: an event on its way, from its acceptance to its outcome
- `split.py`: which version of a function an event runs on; `family.py`: the versions that serve side by side;
  `joint.py`: how many instances each of them may have
- `pool.py`: decides what to assign, start, keep waiting, refuse and end
- `members.py`: what each instance is doing, and the warm path; `staff.py`: how many instances the pool wants, and when
- `actions.py`: its decisions, as values
- `line.py`: the events that wait; `key_line.py`: those that may have a key; `bindings.py`: which instance has which key
- `keys.py`: the key of an event, as configured
- `budget.py`, `relief.py`: what all pools may hold together, and who gets room; `machine.py`, `tenant.py`: the I/O
  around the budget, and between it and one pool; `machine_state.py`: what `ps` shows of it
- `standing.py`: a function as triggers and other versions see it
- `runner.py`: carries out what a pool decides; `capacity.py`: wakes consumers when there is room
- `renewing.py`: a runner that gets another version, and what that puts off; `afterwards.py`: runs what was put off
- `retirement.py`: replaces instances that have reached a limit
- `settings.py`: the settings of a pool
- `outcomes.py`: outcomes of events that reached no instance
- `change.py`: a reload, prepared as a whole and then switched or undone
- `records.py`, `histogram.py`: counts for metrics and usage
- `reasons.py`: why events waited, for `forklight why`
"""
