def connect():
    raise ConnectionError("no database at db:5432")


def handler(event): ...
