"""Zygotes, templates and instances: the processes that functions run in. Imports only `bus`.

In reading order:

- `tree.py`: starts processes when they are needed and replaces those that die; `places.py`, `backoff.py`, `causes.py`:
  what exists, when to try again, why a start was slow
- `zygote.py`, `template.py`, `instance.py`: the server's half of each kind of process; `offspring.py`: the
  instances of a template
- `calls.py`: the calls of an instance, by the tables in `call_life.py` and `instance_life.py`; `lives.py`: the life of
  a template; pure state machines that the files above carry out
- `birth.py`: what an instance does before its first event
- `frames.py`, `wire.py`, `control.py`: frames of calls, and messages to zygotes and templates; `forks.py`: several
  requests in one message; `bounds.py`: the limits of both
- `endings.py`, `outcomes.py`, `stacks.py`: how a call ends, its outcome, and the stack of a handler that was cut short;
  `whereabouts.py` asks for it
- `logs.py`, `log_lines.py`: reads a log pipe, and cuts its bytes into lines; `last_words.py`: what a process printed
  last before its start failed
- `launch.py`: starts a zygote; `user_filter.py`: which users it can become; `containment.py`, `isolation.py`: what
  contains it
- `network.py`: where a box has the places that its function may reach; `forwarding.py`: the process that leads there
- `quarters.py`: where the processes of a template live, on the host or in a box; `box.py`: what a box shows
  (`system_files.py`, `etc_folder.py`);
  `holder.py`: opens it and keeps it open; `reports.py`: the instances that a template has buried
- `readable.py`: what a function reads; `confinement.py`: what a template gives up before it imports the function;
  `seccomp.py`, `bpf.py`: system calls; `landlock.py`: files; `probes.py`: whether the kernel can filter
- `hardware.py`: what the machine has
- `processes.py`, `memory.py`: verifies pidfds; measures the memory of an instance; `checkup.py`: when, and what follows
- `channels.py`, `folders.py`, `kits.py`, `commons.py`: what connects a process to the server, made ahead for an
  instance, and what all processes share; `errands.py`: work for a thread
- `sweep.py`: the one timer; `usage.py`: what processes hold and use, summed up by function
- `kinds.py`: what runtimes of each kind can do; `proving.py`: whether a function loads
- `spec.py`, `errors.py`: what to run, and why it could not be started

The sandbox contains bugs and ordinary hostility, not a kernel exploit; `sandbox.isolation` lists what is in force.
"""
