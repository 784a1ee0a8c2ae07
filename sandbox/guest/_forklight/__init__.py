"""Private. The only name of ours in a function's `sys.modules`; everything in here imports relatively and the standard library."""
