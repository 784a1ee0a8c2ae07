from json import lodas


def handler(event): ...
