import os

import numpy

print("imported")
IMPORTED_BY = os.getpid()
GENERATORS = {
    "shared": numpy.random,
    "own": numpy.random.default_rng(),
    "old": numpy.random.RandomState(),
    "chosen": numpy.random.default_rng(42),
    "old_chosen": numpy.random.RandomState(42),
    **{
        kind: numpy.random.Generator(getattr(numpy.random, kind)())
        for kind in ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64")
    },
}


def handler(event):
    return {"sum": int(numpy.arange(10).sum()), "imported_by": IMPORTED_BY, **{name: float(each.random()) for name, each in GENERATORS.items()}}
