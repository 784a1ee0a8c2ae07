NAME = "the function's own triggers"
