"""The one thing that ends a message before it becomes an event."""


class UnreadableError(Exception):
    """No handler can be given this message, now or later: it is a dead letter, and the text says why."""
