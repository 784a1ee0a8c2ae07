"""Routes that require a key: who gets in, that the function never sees the key, and that revoking takes effect."""

import json
from pathlib import Path

import msgspec
import pytest

from tests.kit.http_server import Reply, Running, request, running
from triggers.http import Cors, KeysError, Route
from triggers.http.errors import RefusedError
from triggers.http.policy.keys import Holder, Key, Keys, digest, new_key, read_keys, sent_key
from triggers.http.policy.scopes import require

pytestmark = pytest.mark.any_user

ROUTES = (
    Route(function="f", path="/x", auth="key", cors=Cors(origins=("*",))),
    Route(function="f", path="/open"),
)


def write(path: Path, **keys: str) -> None:
    known = {name: Key(sha256=digest(key), created="2026-11-23T19:06:00Z") for name, key in keys.items()}
    new = path.with_suffix(".new")
    new.write_bytes(msgspec.json.encode(known))
    new.rename(path)


async def ask(house: Running, headers: str = "", target: str = "/x", body: bytes = b"") -> Reply:
    async with house.connect() as client:
        client.writer.write(request(target, "POST", headers, body))
        return await client.reply()


async def test_a_valid_key_is_accepted_and_hidden_from_the_function(tmp_path: Path) -> None:
    key = new_key()
    write(tmp_path / "keys", other=new_key(), alice=key)
    async with running(routes=ROUTES, keys=tmp_path / "keys") as house:
        for headers in (
            f"Authorization: Bearer {key}\r\n",
            f"authorization: bearer  {key}\r\n",
            f"X-Api-Key: {key}\r\n",
        ):
            assert (await ask(house, headers + "X-Other: 1\r\n", body=b"hi")).body == b"hi"
        for event in house.functions.events:
            assert event.http is not None
            assert event.http.headers == {"host": "here", "x-other": "1", "content-length": "2"}
            assert key not in repr(event)


@pytest.mark.parametrize(
    "headers",
    ["", "Authorization: Bearer wrong\r\n", "Authorization: Basic YTpi\r\n", "X-Api-Key: \r\n", "X-Api-Key: é\r\n"],
)
async def test_without_a_valid_key_the_answer_is_401(tmp_path: Path, headers: str) -> None:
    write(tmp_path / "keys", alice=new_key())
    async with running(routes=ROUTES, keys=tmp_path / "keys") as house:
        reply = await ask(house, headers)
        assert (reply.status, reply["content-type"]) == (401, "application/problem+json")
        assert reply["www-authenticate"] == 'Bearer realm="forklight"'
        assert reply["access-control-allow-origin"] == "*"
        assert house.functions.events == []


@pytest.mark.parametrize(
    "authorization", [b"Bearer \xff\xfe", b"Bearer \xc3\xa9", b"\xf0\x9f", b"bearer " + b"\x80" * 999]
)
@pytest.mark.parametrize("known", ["\u00e9" * 64, "", "zz", "\U0001f511"])
async def test_any_bytes_of_a_client_and_any_text_of_the_file(tmp_path: Path, authorization: bytes, known: str) -> None:
    key = new_key()
    keys = {"odd": Key(sha256=known, created=known), "alice": Key(sha256=digest(key), created="")}
    (tmp_path / "keys").write_bytes(msgspec.json.encode(keys))
    async with running(routes=ROUTES, keys=tmp_path / "keys") as house, house.connect() as client:
        for header in (b"Authorization: " + authorization, b"X-Api-Key: " + authorization):
            client.writer.write(b"GET /x HTTP/1.1\r\nHost: here\r\n" + header + b"\r\n\r\n")
            assert (await client.reply()).status == 401
        client.writer.write(request("/x", headers=f"Authorization: Bearer {key}\r\n"))
        assert (await client.reply()).status == 200


async def test_a_connection_goes_on_after_a_refusal(tmp_path: Path) -> None:
    async with running(routes=ROUTES) as house, house.connect() as client:
        client.writer.write(request("/x") + request("/open"))
        assert [(await client.reply()).status for _ in range(2)] == [401, 200]


async def test_a_preflight_needs_no_key(tmp_path: Path) -> None:
    async with running(routes=ROUTES, keys=tmp_path / "keys") as house, house.connect() as client:
        preflight = "Origin: https://a.example\r\nAccess-Control-Request-Method: POST\r\n"
        client.writer.write(request("/x", "OPTIONS", preflight))
        assert (await client.reply()).status == 204


def admits(keys: Keys, key: str, *scopes: str) -> bool:
    try:
        require(keys.holder({"x-api-key": key}, scopes).scopes, scopes)
    except RefusedError:
        return False
    return True


def test_a_change_takes_effect_within_a_second(tmp_path: Path) -> None:
    path, now_s, old, new = tmp_path / "keys", [0.0], new_key(), new_key()
    keys = Keys(path, lambda: now_s[0])
    assert not admits(keys, old)
    for known, admitted in (
        ({"a": old}, (True, False)),
        ({"a": old, "b": new}, (True, True)),
        ({"b": new}, (False, True)),
        ({}, (False, False)),
    ):
        write(path, **known)
        now_s[0] += 1.0
        assert (admits(keys, old), admits(keys, new)) == admitted


def test_a_new_key_and_a_new_scope_count_at_once_and_what_is_taken_away_after_a_second(tmp_path: Path) -> None:
    path, now_s, key = tmp_path / "keys", [0.0], new_key()
    keys = Keys(path, lambda: now_s[0])
    assert not admits(keys, key)
    write(path, a=key)
    assert admits(keys, key)
    assert not admits(keys, key, "read")
    write_scopes(path, key, "read", "write")
    assert admits(keys, key, "read", "write")
    write_scopes(path, key, "write")
    assert admits(keys, key, "read")
    now_s[0] += 1.0
    assert not admits(keys, key, "read")
    assert admits(keys, key, "write")


def write_scopes(path: Path, key: str, *scopes: str) -> None:
    new = path.with_suffix(".new")
    new.write_bytes(msgspec.json.encode({"a": Key(sha256=digest(key), created="", scopes=scopes)}))
    new.rename(path)


async def test_a_key_that_lacks_a_scope_gets_403_and_the_name_of_the_scope(tmp_path: Path) -> None:
    key, path = new_key(), tmp_path / "keys"
    routes = (Route(function="f", path="/x", auth="key", scopes=("a:read", "a:write"), cors=Cors(origins=("*",))),)
    write_scopes(path, key, "a:read", "b")
    async with running(routes=routes, keys=path) as house:
        for header in (f"Authorization: Bearer {key}\r\n", f"X-Api-Key: {key}\r\n"):
            reply = await ask(house, header)
            assert (reply.status, reply["content-type"]) == (403, "application/problem+json")
            assert reply["www-authenticate"] == (
                'Bearer realm="forklight", error="insufficient_scope", scope="a:read a:write"'
            )
            assert reply["access-control-allow-origin"] == "*"
            assert json.loads(reply.body)["detail"] == "the key lacks the scope a:write, which this path requires"
        assert [(one.status, one.reason, one.key) for one in house.record] == [(403, "scope", "a")] * 2
        assert house.functions.events == []
        assert (await ask(house)).status == 401


@pytest.mark.parametrize("scopes", [("a:read", "a:write"), ("x", "a:write", "a:read"), ("*",)])
async def test_the_event_says_whose_key_it_is_and_its_scopes(tmp_path: Path, scopes: tuple[str, ...]) -> None:
    key, path = new_key(), tmp_path / "keys"
    routes = (
        Route(function="f", path="/x", auth="key", scopes=("a:read", "a:write")),
        Route(function="f", path="/open"),
    )
    write_scopes(path, key, *scopes)
    async with running(routes=routes, keys=path) as house:
        assert (await ask(house, f"X-Api-Key: {key}\r\n")).status == 200
        assert (await ask(house, f"X-Api-Key: {key}\r\n", "/open")).status == 200
        sections = [event.http for event in house.functions.events]
        assert [(one.key, one.scopes) for one in sections if one is not None] == [("a", [*scopes]), (None, [])]
        assert [one.key for one in house.record] == ["a", ""]


def test_a_key_of_a_file_from_before_scopes_has_none(tmp_path: Path) -> None:
    path, key = tmp_path / "keys", new_key()
    path.write_text(f'{{"alice": {{"sha256": "{digest(key)}", "created": "2026-01-01T00:00:00Z"}}}}')
    keys = Keys(path)
    assert keys.holder({"x-api-key": key}) == Holder("alice")
    assert not admits(keys, key, "read")
    assert b"scopes" not in msgspec.json.encode(read_keys(path))


async def test_a_deploy_key_opens_no_route_and_a_route_key_deploys_nothing(tmp_path: Path) -> None:
    path, now_s, deployer, route = tmp_path / "keys", [0.0], new_key(), new_key()
    known = {
        "ci": Key(sha256=digest(deployer), created="", deploy=True),
        "alice": Key(sha256=digest(route), created="", scopes=("*",)),
    }
    path.write_bytes(msgspec.json.encode(known))
    async with running(routes=ROUTES, keys=path) as house:
        reply = await ask(house, f"Authorization: Bearer {deployer}\r\n")
        assert reply.status == 401
        assert json.loads(reply.body)["detail"].startswith("the key is a deploy key, which opens no route: ")
    keys = Keys(path, lambda: now_s[0])
    assert keys.deployer({}) is None
    assert keys.deployer({"x-api-key": deployer}) == Holder("ci", deploys=True)
    for other in (route, "wrong"):
        with pytest.raises(RefusedError, match="the key is not"):
            keys.deployer({"x-api-key": other})
    write(path, alice=route)
    now_s[0] += 1.0
    assert not keys.has_deployers()
    with pytest.raises(RefusedError, match="the key is not valid"):
        keys.deployer({"x-api-key": deployer})


def test_a_missing_or_invalid_file_accepts_no_key(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, now_s, key = tmp_path / "keys", [0.0], new_key()
    keys = Keys(path, lambda: now_s[0])
    for text in (None, b"{", b'{"a": {"sha256": 1}}', b"\xff", b'{"\xff": {}}', b"[" * 100_000):
        write(path, a=key)
        now_s[0] += 1.0
        assert admits(keys, key)
        path.unlink() if text is None else path.write_bytes(text)
        now_s[0] += 1.0
        assert not admits(keys, key)
    assert [record.message.partition(":")[0] for record in caplog.records] == ["no key is accepted"] * 5
    with pytest.raises(KeysError, match="not a valid keys file"):
        read_keys(path)


def test_a_deploy_key_of_no_application_is_not_one_of_every_application(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    entry = {"sha256": digest(new_key()), "created": "2026-01-01T00:00:00Z", "deploy": True}
    path.write_text(json.dumps({"ci": {**entry, "applications": ["shop"]}}))
    assert read_keys(path)["ci"].applications == ("shop",)
    path.write_text(json.dumps({"ci": {**entry, "applications": []}}))
    with pytest.raises(KeysError, match=r"length >= 1 .*applications.*mend it, or remove it"):
        read_keys(path)


def test_authorization_goes_before_x_api_key() -> None:
    assert sent_key({"authorization": "Bearer a", "x-api-key": "b"}) == "a"
    assert sent_key({"authorization": "Basic a", "x-api-key": "b"}) == "b"
    assert len({new_key() for _ in range(100)}) == 100
