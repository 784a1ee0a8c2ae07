NAME = "the function's own forklight"
