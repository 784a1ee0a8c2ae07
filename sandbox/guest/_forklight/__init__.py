"""Private: the only name of ours in a function's `sys.modules`. Imports itself relatively, and the standard library.

The processes, in the order in which they are made:

- `zygote.py`: preloads, forks templates, sweeps; `warmup.py`: runs the warm path once, before the first fork
- `template.py`: imports a function, forks instances, buries them
- `instance.py`: serves a synchronous handler; `aio.py`: an asynchronous one; `coroutines.py`: one that hides that it is
- `invocation.py`: one call, from its frame to the reply
- `wire.py`, `control.py`: frames, and messages of the server; `posix.py`: system calls that Python has no names for

What a function sees:

- `handler.py`, `imports.py`, `names.py`, `signature.py`: finding, importing and calling it
- `events.py`, `traces.py`: the event; `context.py`, `outputs.py`: the context, and what it sends
- `decoding.py`, `codings.py`, `charsets.py`, `forms.py`, `mediatypes.py`, `jsons.py`: from a body to `data`
- `results.py`, `headers.py`, `proxy_answers.py`, `encoding.py`: from what it returned to a body
- `logs.py`, `loggers.py`, `records.py`, `tracebacks.py`: what it prints and raises
- `environ.py`: its variables

What a fork must not share, and what must not be left behind:

- `leftovers.py`, `sockets.py`, `threads.py`: what the import has left open or running
- `chance.py`, `forked.py`, `orphans.py`: random numbers; a handler's own forks and their children
- `box.py`: where namespaces would be entered
"""
