"""Random numbers after a fork: a generator created at import would give the same numbers in every instance.

`random` reseeds its own generator. Every other `random.Random` is reseeded here, even if its seed was chosen, which
cannot be detected; a function that needs a fixed sequence seeds in the `after_fork` hook. For generators of numpy it
can be detected: numpy's own entropy has 128 bits, and a chosen seed hardly ever more than 64.
"""

import contextlib
import gc
import sys
from collections.abc import Callable
from typing import Any

Reseed = Callable[[], object]
_MOST_CHOSEN = 2**64


def reseeders() -> list[Reseed]:
    """The functions that each instance must call. Scans all objects if `random` or numpy is loaded."""
    if "random" not in sys.modules and "numpy.random" not in sys.modules:
        return []
    objects = gc.get_objects()
    return [*_of_random(objects), *_of_numpy(objects)]


def run(reseeds: list[Reseed]) -> None:
    """Call them all. A generator that cannot be reseeded, such as that of a subclass, stays as it is."""
    for reseed in reseeds:
        with contextlib.suppress(Exception):
            reseed()


def _of_random(objects: list[Any]) -> list[Reseed]:
    random: Any = sys.modules.get("random")
    if random is None:
        return []
    shared = getattr(random, "_inst", None)  # it reseeds itself after a fork
    # type() and not isinstance(), which reads `__class__` and so runs user code in a proxy.
    return [one.seed for one in objects if issubclass(type(one), random.Random) and one is not shared]


def _of_numpy(objects: list[Any]) -> list[Reseed]:
    numpy: Any = sys.modules.get("numpy.random")
    if numpy is None:
        return []
    legacy = {id(one._bit_generator) for one in objects if issubclass(type(one), numpy.RandomState)}
    sources = [one for one in objects if issubclass(type(one), numpy.BitGenerator)]
    unseeded = [one for one in sources if _is_unseeded(one, is_legacy=id(one) in legacy)]
    return [numpy.seed, *(lambda source=source: _renew(source) for source in unseeded)]


def _is_unseeded(source: Any, *, is_legacy: bool) -> bool:
    """Whether numpy chose the seed. A RandomState that was seeded later differs from the state of its seed sequence."""
    try:
        sequence = getattr(source, "seed_seq", None) or source._seed_seq
        entropy = sequence.entropy
        if not isinstance(entropy, int) or entropy < _MOST_CHOSEN:
            return False
        return not is_legacy or repr(type(source)(sequence).state) == repr(source.state)
    except Exception:
        return False


def _renew(source: Any) -> None:
    source.state = type(source)().state
