"""Byte-compiling, by the interpreter that will run the code.

Standard library only, Python 3.10 or later: another interpreter is given this file's text as its program. Then it reads
a JSON list of source files from standard input, and writes for each of them `u32 length` (big-endian) and that many
bytes: the content of its .pyc, none for what does not compile. It writes no file: it may run as a user who must not
write into the code.
"""

import importlib.util
import json
import marshal
import struct
import sys
import warnings

# PEP 552: a hash-based .pyc whose source is never checked again. A snapshot does not change.
_UNCHECKED_HASH = struct.pack("<I", 0b01)


def pyc(source: bytes, name: str) -> bytes:
    """Return the content of the .pyc of `source`, or nothing if it does not compile: the import will report why."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            code = compile(source, name, "exec", dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return b""
    return importlib.util.MAGIC_NUMBER + _UNCHECKED_HASH + importlib.util.source_hash(source) + marshal.dumps(code)


def main() -> None:
    for name, shown in json.load(sys.stdin):
        with open(name, "rb") as file:
            content = pyc(file.read(), shown)
        sys.stdout.buffer.write(struct.pack(">I", len(content)) + content)


if __name__ == "__main__":
    main()
