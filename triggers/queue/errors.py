"""The error that ends a message before it becomes an event."""


class UnreadableError(Exception):
    """The message can never become an event: it is a dead letter, and the text says why."""
