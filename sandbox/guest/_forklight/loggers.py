"""Loggers that `logging.config` does not silence."""

import logging


def never_disabled(name: str) -> logging.Logger:
    """The logger of that name, immune to `dictConfig` and `fileConfig`, which disable every logger they do not name.

    Its level, handlers and `propagate` can be configured as usual.
    """
    logger = logging.getLogger(name)
    kind = type(logger)
    if not isinstance(kind.__dict__.get("disabled"), property):
        disabled = property(lambda _: False, lambda _self, _value: None)
        logger.__class__ = type(kind.__name__, (kind,), {"disabled": disabled, "__module__": kind.__module__})
    return logger
