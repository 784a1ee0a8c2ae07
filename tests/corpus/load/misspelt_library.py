import asynco


def handler(event): ...
