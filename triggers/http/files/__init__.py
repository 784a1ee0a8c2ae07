"""Static files: `static.py` finds and reads them, `ranges.py` and `types.py` decide what of them is sent as what."""
