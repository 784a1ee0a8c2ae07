"""The face of Forklight: its command line, and the server that puts the other packages together.

The rooms, each of which imports only from those above it:

- `errors.py`: the base of what they raise for the user to read
- `state`: the state directory, its owner, and whom functions run as
- `code`: which files make up a function's code, and read-only snapshots of them
- `config`: from `forklight.toml` to a checked `Config`
- `observe`: what is remembered of invocations, and how it is written: journal, metrics, status
- `serving`: what a running server consists of, and how it changes: triggers, stores, versions, reload
- `admin`: the control socket, both of its ends
- `app.py`: starts and ends a server
- `commands`: one file for each command; `cli.py` finds them

Beside them stands `testing`, for the tests of applications, and `types`, for their type checkers.
"""
