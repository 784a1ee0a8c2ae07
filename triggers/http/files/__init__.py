"""Static files: `static.py` finds and reads them, `ranges.py` chooses the part to send, `types.py` its content type."""
