"""The base of what the command line and the server raise for the user to read."""


class ForklightError(Exception):
    """Base of everything the package raises. `str` of it is a message for the user."""
