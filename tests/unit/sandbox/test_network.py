"""Where a box has the places that its function names, and which places there cannot be."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.containment import Containment, Endpoint, Level, Mechanism
from sandbox.levels import Asked, CannotBeHad, Found, resolve
from sandbox.network import MOST_PLACES, Door, doors, files, has_doors, why_not

pytestmark = pytest.mark.any_user

NAMES = st.from_regex(r"[a-z]{1,4}(\.[a-z]{1,3})?", fullmatch=True)
HOSTS = st.one_of(NAMES, st.just("localhost"), st.ip_addresses().map(str))
PLACES = st.lists(st.builds(Endpoint, HOSTS, st.integers(1, 65535)), max_size=20)


@pytest.mark.invariant("I48")
@given(PLACES)
def test_each_place_has_an_address_and_each_name_leads_to_it(places: list[Endpoint]) -> None:
    found = doors(places)
    at = [(door.address, door.port) for door in found]
    assert len(set(at)) == len(at)
    lines = [line.split() for line in files(places, "box")["hosts"].decode().splitlines()]
    hosts = {name: address for address, *names in lines for name in names}
    for place in places:
        address = hosts.get(place.host, place.host)
        assert (str(ipaddress.ip_address(address)), place.port) in at
    for door in found:
        assert door.to in places
        assert ipaddress.ip_address(door.address).is_loopback or door.address == str(ipaddress.ip_address(door.to.host))
    names = {place.host for place in places} - {"localhost"}
    assert len({hosts[name] for name in names & hosts.keys()}) == len(names & hosts.keys())


def test_names_have_addresses_of_their_own_and_addresses_keep_theirs() -> None:
    places = [Endpoint("db", 5432), Endpoint("db", 5433), Endpoint("10.1.2.3", 80), Endpoint("localhost", 6379)]
    assert doors([*places, Endpoint("127.0.0.1", 6379)]) == (
        Door("127.1.0.1", 5432, places[0]),
        Door("127.1.0.1", 5433, places[1]),
        Door("10.1.2.3", 80, places[2]),
        Door("127.0.0.1", 6379, places[3]),
    )
    assert files(places, "box")["hosts"] == b"127.0.0.1 localhost box\n127.1.0.1 db\n"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "fe80::1%eth0"])
def test_what_is_no_place_is_refused(host: str) -> None:
    assert host in why_not(Endpoint(host, 80))
    with pytest.raises(CannotBeHad, match=r"network .*: write"):
        resolve(Asked(network=(Endpoint(host, 80),)), Found())
    assert why_not(Endpoint("10.0.0.1", 80)) == why_not(Endpoint("example.com", 80)) == ""


def test_too_many_places_are_refused() -> None:
    places = tuple(Endpoint("db", port) for port in range(1, MOST_PLACES + 2))
    assert resolve(Asked(network=places[1:]), Found()).network == places[1:]
    with pytest.raises(CannotBeHad, match=f"has {len(places)} places, and at most {MOST_PLACES}"):
        resolve(Asked(network=places), Found())


def test_only_a_box_with_a_network_of_its_own_has_doors() -> None:
    places = (Endpoint("db", 5432),)
    assert has_doors(Containment(level=Level.NAMESPACES, network=places))
    shared = frozenset({Mechanism.NETWORK_NAMESPACE})
    assert not has_doors(Containment(level=Level.NAMESPACES, network=places, without=shared))
    assert not has_doors(Containment(level=Level.FILTERS, network=places))
    assert not has_doors(Containment(level=Level.NAMESPACES, network=False))
