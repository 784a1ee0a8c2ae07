NAME = "the function's own sandbox"
