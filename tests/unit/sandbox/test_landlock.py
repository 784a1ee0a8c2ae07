"""The rules for files: which rights a kernel knows, and where a function has which."""

from pathlib import Path

import pytest

from sandbox.containment import Containment, Endpoint, Level, Mechanism, Mount
from sandbox.landlock import Ruleset, ruleset

pytestmark = pytest.mark.any_user

FILTERS = Containment(level=Level.FILTERS)
REFER, TRUNCATE, IOCTL = 1 << 13, 1 << 14, 1 << 15
MAKE_CHAR, MAKE_BLOCK, WRITE_FILE = 1 << 6, 1 << 11, 1 << 1


def rules(containment: Containment = FILTERS, abi: int = 7) -> Ruleset:
    found = ruleset(containment, abi, [Path("/srv/code")], Path("/state/tmp/shop"))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("abi", "later"), [(1, 0), (2, REFER), (3, REFER | TRUNCATE), (4, REFER | TRUNCATE), (7, REFER | TRUNCATE | IOCTL)]
)
def test_a_kernel_is_asked_for_the_rights_that_it_knows(abi: int, later: int) -> None:
    found = rules(abi=abi)
    assert found.files == REFER - 1 | later
    assert not any(rights & ~found.files for _, rights in found.paths)
    assert dict(found.paths)["/state/tmp/shop"] == found.files & ~(MAKE_CHAR | MAKE_BLOCK)


def test_only_mounts_that_say_so_are_writable() -> None:
    mounts = (Mount(Path("/srv/a"), Path("/srv/a")), Mount(Path("/srv/b"), Path("/srv/b"), writable=True))
    found = dict(rules(Containment(level=Level.FILTERS, mounts=mounts)).paths)
    writable = {path for path, rights in found.items() if rights & WRITE_FILE and not path.startswith("/dev/")}
    assert writable == {"/state/tmp/shop", "/srv/b"}
    assert found["/srv/a"] == found["/srv/code"] == found["/usr"]


def test_in_a_box_and_without_rules_for_files_there_are_scopes_only() -> None:
    without = frozenset({Mechanism.FILE_RULES})
    for containment in (Containment(level=Level.NAMESPACES), Containment(level=Level.FILTERS, without=without)):
        assert rules(containment) == Ruleset(files=0, scopes=3)


def test_what_the_machine_does_not_have_is_left_out() -> None:
    scopes = frozenset({Mechanism.SIGNAL_SCOPE})
    assert rules(Containment(level=Level.FILTERS, without=scopes)).scopes == 0
    nothing = Containment(level=Level.NAMESPACES, without=scopes)
    assert ruleset(nothing, 7, [], Path("/state/tmp/shop")) is None


def test_ports_are_restricted_where_places_have_no_doors() -> None:
    places = (Endpoint("b", 443), Endpoint("a", 5432), Endpoint("c", 443))
    assert rules(Containment(level=Level.FILTERS, network=places)).ports == (443, 5432)
    shared = frozenset({Mechanism.NETWORK_NAMESPACE, Mechanism.SIGNAL_SCOPE})
    assert rules(Containment(level=Level.NAMESPACES, network=places, without=shared)) == Ruleset(
        0, 0, ports=(443, 5432)
    )
    for containment in (FILTERS, Containment(level=Level.NAMESPACES, network=places)):
        assert rules(containment).ports is None
