class handler:
    pass
