"""The configuration: `forklight.toml`, checked as a whole.

Reading, from the file to structs:

- `document.py`: the file as a tree of nodes that know their lines (`lines.py`)
- `short_forms.py`: triggers written as strings become tables; `expand.py`: `${VAR}`
- `reader.py`: nodes become frozen structs, with `units.py` for durations and sizes
- `problem.py`, `hint.py`: what an error says of a wrong key or value

The structs, and what is checked across them:

- `functions.py`: what can be set of a function and a runtime; `machine.py`: the budget of all functions
- `http.py`, `queue.py`, `timer.py`: the triggers; `environment.py`, `envfile.py`: variables and secrets
- `runtimes.py`, `requirements.py`: interpreters and their environments; `kinds.py`: what each kind of runtime has
- `configuration.py`: the whole, `load` and `Config`
"""
