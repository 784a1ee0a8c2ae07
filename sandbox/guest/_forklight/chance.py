"""Random numbers after a fork: what was made at import would give the same ones in every instance.

`random` reseeds its own generator. Every other `random.Random` is found and seeded anew; whether its seed was given on
purpose cannot be told, so that too: who wants a fixed sequence seeds in the `after_fork` hook. numpy tells it of its
generators, mostly: entropy that it drew itself has 128 bits, a seed that somebody chose hardly more than 64.
"""

import contextlib
import gc
import sys
from collections.abc import Callable
from typing import Any

Reseed = Callable[[], object]
_MOST_CHOSEN = 2**64


def reseeders() -> list[Reseed]:
    """What each instance has to call. Looks at every object there is, if a library of random numbers is loaded."""
    if "random" not in sys.modules and "numpy.random" not in sys.modules:
        return []
    objects = gc.get_objects()
    return [*_of_random(objects), *_of_numpy(objects)]


def run(reseeds: list[Reseed]) -> None:
    """Call them all; a generator that cannot be seeded anew, as a subclass may have it, stays as it is."""
    for reseed in reseeds:
        with contextlib.suppress(Exception):
            reseed()


def _of_random(objects: list[Any]) -> list[Reseed]:
    random: Any = sys.modules.get("random")
    if random is None:
        return []
    shared = getattr(random, "_inst", None)
    # By type(), as isinstance() asks `__class__`, which is code of the function's in a proxy.
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
    """Whether numpy has chosen the seed. RandomState has one of its own, unlike the first state that numpy gave it."""
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
