from . import helpers


def handler(event): ...
