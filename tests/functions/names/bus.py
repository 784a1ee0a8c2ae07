NAME = "the function's own bus"
