class Handler:
    pass


number = 3


def init():
    raise RuntimeError("no licence")


def handler(event):
    return "fine"
