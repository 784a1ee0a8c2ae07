class NoSuchOrder(Exception):
    pass


raise NoSuchOrder("cannot begin")
