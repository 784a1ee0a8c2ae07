"""Fails with more text than one message holds."""

raise ExceptionGroup("ü" * 5000, [ValueError("ß" * 3000 + str(n)) for n in range(200)]) if "ExceptionGroup" in dir(
    __builtins__
) else ValueError("ü" * 100_000)
