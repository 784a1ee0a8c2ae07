"""The code of functions.

- `files.py`: which files belong to a function; `ignore.py` and `private_files.py` say which do not
- `archive.py`: code in a zip file
- `snapshots.py`: a read-only copy, byte-compiled by `bytecode.py` and published by one rename
- `interpreter.py`: the interpreter that will run the code
"""
