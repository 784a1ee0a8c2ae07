"""The child half: runs in zygote, template and instance on the standard library of Python ≥ 3.10, nothing else.

`__main__.py` starts a zygote. The rest is the package `_forklight`, which says what to read in it.
"""
