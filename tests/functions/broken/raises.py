def connect():
    raise ConnectionError("the database said no")


connect()
