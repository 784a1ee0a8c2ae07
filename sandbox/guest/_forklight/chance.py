"""Random numbers after a fork: a generator created at import would give the same numbers in every instance.

`random` reseeds its own generator. Every other `random.Random` is reseeded here, even if its seed was chosen, which
cannot be detected; a function that needs a fixed sequence seeds in the `after_fork` hook. For generators of numpy it
can be detected: numpy's own entropy has 128 bits, and a chosen seed hardly ever more than 64.
"""

import contextlib
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from .survey import Survey

Reseed = Callable[[], object]
_MOST_CHOSEN = 2**64
_RESEEDED = "reseeded in each instance"
_KEPT = "seeded by the code, so every instance draws the same numbers; seed it in the after_fork hook"


class Generators(NamedTuple):
    """The generators of random numbers that an import has left, and what becomes of them."""

    reseeds: list[Reseed]
    """What each process that has inherited them must call."""
    told: list[str]
    """One line for each that a variable leads to."""


NONE = Generators([], [])


def find(survey: Survey, inherited: Generators = NONE) -> Generators:
    """The inherited ones, those among the surveyed objects, and the one behind the functions of `numpy.random`."""
    found = Generators([*inherited.reseeds], [*inherited.told])
    _find_random(survey, found)
    _find_numpy(survey, found)
    return found


def run(reseeds: list[Reseed]) -> None:
    """Call them all. A generator that cannot be reseeded, such as that of a subclass, stays as it is."""
    for reseed in reseeds:
        with contextlib.suppress(Exception):
            reseed()


def _find_random(survey: Survey, found: Generators) -> None:
    random: Any = sys.modules.get("random")
    names: Any = getattr(sys.modules.get("tempfile"), "_name_sequence", None)
    careful = (getattr(random, "_inst", None), getattr(names, "_rng", None))  # Python reseeds these after a fork
    for one in survey.of("random"):
        if not any(one is other for other in careful) and not issubclass(type(one), random.SystemRandom):
            with contextlib.suppress(Exception):  # of a subclass
                found.reseeds.append(one.seed)
                _tell(found, survey, one, _RESEEDED)


def _find_numpy(survey: Survey, found: Generators) -> None:
    numpy: Any = sys.modules.get("numpy.random")
    if not hasattr(numpy, "BitGenerator"):
        return
    if numpy.seed not in found.reseeds:
        found.reseeds.append(numpy.seed)
        found.told.append(f"the generator behind numpy.random: {_RESEEDED}")
    behind = getattr(getattr(getattr(numpy, "mtrand", None), "_rand", None), "_bit_generator", None)
    legacy = {id(one._bit_generator) for one in survey.of("numpy_legacy")}
    for one in survey.of("numpy"):
        if one is behind:
            continue
        is_unseeded = _is_unseeded(one, is_legacy=id(one) in legacy)
        if is_unseeded:
            found.reseeds.append(partial(_renew, one))
        _tell(found, survey, one, _RESEEDED if is_unseeded else _KEPT)


def _tell(found: Generators, survey: Survey, one: object, fate: str) -> None:
    owner = survey.owner(one)
    if owner:  # else it belongs to the standard library, or to nobody
        kind = type(one)
        module = "numpy.random" if kind.__module__.startswith("numpy.random.") else kind.__module__
        found.told.append(f"a {module}.{kind.__qualname__}{owner}: {fate}")


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
