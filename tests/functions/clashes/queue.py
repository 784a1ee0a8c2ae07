"""Hidden by the standard library's."""

NAME = "own"
