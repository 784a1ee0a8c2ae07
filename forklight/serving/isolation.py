"""What contains each function of a configuration on this machine. Blocks, the first time, for the probes."""

from msgspec.structs import replace

from forklight.config.configuration import Config, Function
from forklight.config.problem import ConfigError
from forklight.observe.status import Isolation
from forklight.state.users import User
from sandbox import isolation
from sandbox.containment import Containment, Mechanism, Mount
from sandbox.launch import Account, own_account
from sandbox.levels import Asked, CannotBeHad, Found, Missing, best_level, resolve

_SHARES_DATA = Missing("functions with data = true share files, and so a user")


def account_of(user: User | None) -> Account:
    """Return the account that the processes below the server run as; None is the user of this process."""
    return own_account() if user is None else Account(user.uid, user.gid, switch=True, uids=user.uids)


def found_for(config: Config) -> Found:
    """Return the mechanisms that there are for the functions of `config`."""
    return isolation.find(account_of(config.user))


def isolation_of(config: Config) -> Isolation:
    """Return the same, as `ps` shows it."""
    found = found_for(config)
    return Isolation(
        level=best_level(found),
        in_force=tuple(one.value for one in Mechanism if found.has(one)),
        missing={one.value: missing.why for one, missing in found.missing.items()},
        remedies={one.value: missing.how for one, missing in found.missing.items() if missing.how},
    )


def asked_by(function: Function, config: Config) -> Asked:
    """Return what a function and its runtime ask for."""
    loopback = config.runtimes[function.settings.runtime].abilities.needs_loopback
    return replace(function.settings.isolation.asked, loopback=loopback)


def _asked(function: Function, config: Config) -> Asked:
    """Return the same with the data folder, which is a mount like those that it names itself."""
    asked = asked_by(function, config)
    data = [Mount(config.data, config.data, writable=True)] if function.settings.data else []
    return replace(asked, mounts=tuple(map(_identified, (*asked.mounts, *data))))


def _identified(mount: Mount) -> Mount:
    """Return the mount with the identity of what is there now, if there is anything."""
    try:
        found = mount.source.stat()
    except OSError:
        return mount
    return replace(mount, inode=(found.st_dev, found.st_ino))


def containments(config: Config) -> dict[str, Containment]:
    """Return what contains each function. Raises ConfigError with everything that the machine does not have."""
    found, problems = found_for(config), []
    sharing = Found(found.missing | {Mechanism.USER_PER_FUNCTION: _SHARES_DATA}, found.details)
    resolved = {}
    for name, function in config.functions.items():
        try:
            resolved[name] = resolve(_asked(function, config), found if function.has_own_user else sharing)
        except CannotBeHad as error:
            problems += [function.node.at(one.key).problem(one.why) for one in error.refused]
    if problems:
        raise ConfigError(problems)
    return resolved
