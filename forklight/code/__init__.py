"""The code of functions.

- `selection.py`: which files of a folder are code, by `ignore.py`, `tool_files.py` and `private_files.py`
- `files.py`: lists and copies them
- `databases.py`: databases in it, of which a snapshot is a copy
- `archive.py`: code in a zip file, if nothing in it is refused by `examine.py`
- `snapshots.py`: a read-only copy, byte-compiled by `bytecode.py` and published by one rename
- `interpreter.py`, `node.py`, `command.py`: the interpreter or the program that will run the code
- `syntax.py`, `modules.py`, `handlers.py`: what reading the code tells, without running it
"""
