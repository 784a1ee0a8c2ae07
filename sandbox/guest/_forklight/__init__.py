"""Private: the only name of ours in a function's `sys.modules`. Imports itself relatively, and the standard library."""
