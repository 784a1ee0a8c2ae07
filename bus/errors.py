"""The base of what the bus and its stores raise."""


class BusError(Exception):
    """Base of everything the bus raises."""
