"""Whether source files compile, by the interpreter that will run them. Nothing of them is run.

Standard library only, Python 3.10 or later: another interpreter is given this file's text as its program. Then it reads
a JSON list of sources in base64 from standard input, since it may run as a user who cannot read the files, and writes a
JSON list: null for each that compiles, else its fault.
"""

import base64
import json
import sys
import warnings

MOST_BYTES = 2_000_000
"""Larger files are data written as code; compiling one takes hundreds of megabytes, so it passes."""

_MOST_TEXT = 160
"""Characters of a line that are shown; of a longer one, those around the fault."""


def fault(source: bytes) -> "dict[str, object] | None":
    """Return kind, message, line, column (both from 1; 0 if unknown) and text of the fault, or None.

    What is nested too deeply for the compiler passes: how deep that is depends on the process.
    """
    if len(source) > MOST_BYTES:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(source, "code", "exec", dont_inherit=True)
    except SyntaxError as error:
        line, column = error.lineno or 0, max(error.offset or 0, 0)
        return {
            "kind": type(error).__name__,
            "message": error.msg.partition(" (<")[0],
            "line": line,
            "column": column if line else 0,  # without a line, as for an unknown encoding, it means nothing
            "text": _shown(error.text or _line(source, line), column) if line else "",
        }
    except ValueError as error:  # a null byte, in Python up to 3.11
        before = source.partition(b"\0")[0]
        line = before.count(b"\n") + 1 if len(before) < len(source) else 0
        return {"kind": "SyntaxError", "message": str(error), "line": line, "column": 0, "text": ""}
    except (RecursionError, MemoryError):
        pass
    return None


def _line(source: bytes, number: int) -> str:
    """The compiler gives no text with what it finds after parsing."""
    lines = source.splitlines()
    return lines[number - 1].decode("utf-8", "replace") if number <= len(lines) else ""


def _shown(text: str, column: int) -> str:
    """Return the line, and below it a mark at the column."""
    line = text.splitlines()[0].replace("\t", " ") if text.strip() else ""
    start = max(len(line) - len(line.lstrip()), column - _MOST_TEXT // 2 if len(line) > _MOST_TEXT else 0)
    shown = line[start : start + _MOST_TEXT].rstrip()
    return f"{shown}\n{' ' * max(column - 1 - start, 0)}^" if shown else ""


def main() -> None:
    json.dump([fault(base64.b64decode(source)) for source in json.load(sys.stdin)], sys.stdout)


if __name__ == "__main__":
    main()
