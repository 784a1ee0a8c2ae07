"""What contains each function of a configuration on this machine. Blocks, the first time, for the probes."""

from forklight.config.configuration import Config
from forklight.config.problem import ConfigError
from sandbox import isolation
from sandbox.containment import Containment
from sandbox.levels import CannotBeHad, Found, resolve


def found_for(config: Config) -> Found:
    """Return the mechanisms that there are for the functions of `config`."""
    return isolation.find(as_root=config.user is not None)


def containments(config: Config) -> dict[str, Containment]:
    """Return what contains each function. Raises ConfigError with everything that the machine does not have."""
    found, problems = found_for(config), []
    resolved = {}
    for name, function in config.functions.items():
        try:
            resolved[name] = resolve(function.settings.isolation.asked, found)
        except CannotBeHad as error:
            problems += [function.node.at(one.key).problem(one.why) for one in error.refused]
    if problems:
        raise ConfigError(problems)
    return resolved
