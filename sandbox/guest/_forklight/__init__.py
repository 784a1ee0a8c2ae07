"""Private: the guest's only package in a function's `sys.modules`. Uses relative imports and the standard library.

The processes, in the order in which they start:

- `zygote.py`: preloads, forks templates, sweeps; `warmup.py`: runs the warm path once, before the first fork
- `template.py`: imports a function, forks instances, buries them
- `instance.py`: serves a sync handler; `aio.py`: an async handler; `coroutines.py`: a sync handler that returns a
  coroutine; `program.py`, `programs.py`: instances that are another program; `node.py`,
  `code_cache.py`, `snapshot.py`, `memory_file.py`: Node.js
- `invocation.py`: one call, from its frame to the reply
- `wire.py`, `control.py`: frames, and messages from and to the server; `posix.py`: system calls that Python lacks;
  `users.py`: a user for each function
- `network.py`: the sockets by which a template in a box has places on the network; `forwarder.py`: leads there

An instance that runs a command, by AWS Lambda's Runtime API:

- `command.py`: its life; `child.py`: its process; `command_call.py`, `command_outputs.py`: one call
- `runtime_api.py`, `http_requests.py`, `peers.py`: the connections, what comes on them, and whose they are
- `lambda_events.py`, `lambda_answers.py`: what the command gets, and what it answers

The interface to a function:

- `handler.py`, `imports.py`, `names.py`, `signature.py`: find, import and call the handler
- `events.py`, `traces.py`: the event; `context.py`, `outputs.py`: the context and the outputs
- `decoding.py`, `codings.py`, `charsets.py`, `forms.py`, `mediatypes.py`, `jsons.py`: from a body to `data`
- `results.py`, `headers.py`, `proxy_answers.py`, `encoding.py`: from the returned value to a response
- `logs.py`, `loggers.py`, `records.py`, `tracebacks.py`: printed lines, log records and exceptions
- `current.py`, `attributing.py`: which of several calls running code belongs to
- `environ.py`: environment variables; `hints.py`: what helps where a function differs from an ordinary program;
  `undecoded.py`: or where its data has another type than it expects

The care around forks:

- `at_fork.py`: a fork of an instance without what other forks have to repair
- `leftovers.py`, `sockets.py`, `threads.py`: what the import has left open or running; `survey.py`, `origins.py`: which
  variable leads to it, and the line that made that
- `chance.py`: random numbers; `forked.py`, `orphans.py`: child processes of a handler
- `tidying.py`: what an idle instance gives back
- `limits.py`, `confine.py`: its limits, and what it gives up for good before it imports the function
- `box.py`: how a template enters its box, and gives each instance a pid namespace; `remains.py`: removes there what
  instances leave in their private folders
"""
