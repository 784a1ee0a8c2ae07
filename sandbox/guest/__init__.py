"""The code that runs in zygotes, templates and instances. It needs only the standard library of Python 3.10 or later.

`__main__.py` starts a zygote or the forwarder. The rest is the package `_forklight`; its docstring is the map.
"""
