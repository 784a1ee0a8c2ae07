"""Found by PYTHONPATH alone."""

NAME = "from PYTHONPATH"
