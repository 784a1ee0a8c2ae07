"""Packages from an address over TLS: whole, in pieces, and what is refused with the reason."""

import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec
import pytest
from msgspec.structs import replace

from forklight.admin.tls import renewing_context
from forklight.packages.errors import PullFailed
from forklight.packages.pull import Patience, pull
from forklight.packages.source import Source
from forklight.packages.store import PackageStore, StoreBounds
from tests.kit.admin import serving
from tests.kit.certificates import make_pair
from tests.kit.deploying import Recorder
from tests.kit.disks import small_disk
from tests.kit.mirror import Mirror, running_mirror
from tests.kit.zips import make_zip, put
from triggers.http.policy.keys import Key, digest, new_key

CONTENT = make_zip(("app.py", os.urandom(100_000)))
SHA256 = sha256(CONTENT).hexdigest()
HURRIED = Patience(tries=2, pause_s=0.01, stall_s=5)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirror]:
    with running_mirror(tmp_path_factory.mktemp("mirror")) as mirror:
        yield mirror


@pytest.fixture
def mirror(served: Mirror, monkeypatch: pytest.MonkeyPatch) -> Mirror:
    monkeypatch.setenv("SSL_CERT_FILE", str(served.certificate))
    served.files, served.redirects, served.requests = {"/app.zip": CONTENT}, {}, []
    served.ignores_ranges, served.has_length, served.statuses, served.breaks_after = False, True, [], []
    return served


@pytest.fixture
def source(mirror: Mirror) -> Source:
    return Source(url=f"{mirror.url}/app.zip?signature=s3cret", sha256=SHA256, headers={"Authorization": "Bearer t"})


def _reason(source: Source, store: PackageStore) -> str:
    with pytest.raises(PullFailed) as failed:
        pull(source, store, HURRIED)
    assert "s3cret" not in str(failed.value)
    assert str(failed.value).startswith(f"{source.shown} cannot be pulled: ")
    assert not store.path(source.sha256).exists()
    return str(failed.value).partition(" cannot be pulled: ")[2]


@pytest.fixture(autouse=True)
def _query_is_ignored(mirror: Mirror) -> None:
    mirror.files["/app.zip?signature=s3cret"] = CONTENT


def test_what_breaks_off_goes_on_where_it_was_in_this_pull_and_in_the_next(
    mirror: Mirror, source: Source, tmp_path: Path
) -> None:
    store = PackageStore(tmp_path / "state")
    mirror.breaks_after = [30_000, 20_000, 0, 0]
    assert _reason(source, store).startswith(f"the connection broke off after 50000 of {len(CONTENT)} bytes (tried for")
    assert mirror.ranges() == ["", "bytes=30000-", "bytes=50000-", "bytes=50000-"]
    mirror.statuses = [503]
    assert pull(source, store, HURRIED).read_bytes() == CONTENT
    assert mirror.ranges()[4:] == ["bytes=50000-", "bytes=50000-"]
    assert {headers["authorization"] for _, headers in mirror.requests} == {"Bearer t"}
    asked = len(mirror.requests)
    assert pull(source, store, HURRIED) == store.path(SHA256)
    assert len(mirror.requests) == asked, "what is here is not asked for"
    assert (tmp_path / "state/.gitignore").exists()


@pytest.mark.parametrize("has_length", [True, False])
def test_a_mirror_that_knows_no_ranges_sends_it_all_again(
    mirror: Mirror, source: Source, tmp_path: Path, has_length: bool
) -> None:
    store = PackageStore(tmp_path)
    store.append(SHA256, 0, CONTENT[:10])
    mirror.ignores_ranges, mirror.has_length = True, has_length
    assert pull(source, store, HURRIED).read_bytes() == CONTENT


def test_what_was_here_of_another_file_is_dropped_once(mirror: Mirror, source: Source, tmp_path: Path) -> None:
    store = PackageStore(tmp_path)
    for wrong in (b"?" * 100, b"?" * (len(CONTENT) + 100)):  # the mirror has no bytes after the second
        store.append(SHA256, 0, wrong)
        assert pull(source, store, HURRIED).read_bytes() == CONTENT
        store.path(SHA256).unlink()
    store.append(SHA256, 0, CONTENT)  # ended before it got its name
    pull(source, store, HURRIED)
    mirror.files["/app.zip?signature=s3cret"] = CONTENT[:-1]
    store.path(SHA256).unlink()
    store.append(SHA256, 0, CONTENT[:10])
    found = sha256(CONTENT[:-1]).hexdigest()
    assert _reason(source, store) == f"it has the SHA-256 {found}, not {SHA256}: correct sha256 or url"
    assert store.received(SHA256) == 0


def test_what_cannot_be_had_says_why(mirror: Mirror, source: Source, tmp_path: Path) -> None:
    store = PackageStore(tmp_path, StoreBounds(package_bytes=len(CONTENT) - 1))
    assert _reason(source, store) == "it has more than 0 MB, which is the limit here"
    mirror.has_length = False
    assert _reason(source, store) == "it has more than 0 MB, which is the limit here"
    mirror.statuses = [403]
    assert _reason(source, store) == "the server answers 403 Forbidden: check the headers"
    assert (
        _reason(replace(source, url=f"{mirror.url}/none"), store) == "the server answers 404 Not Found: check the url"
    )
    mirror.files["/empty"] = b""
    assert _reason(replace(source, url=f"{mirror.url}/empty"), store).startswith("the server sent nothing")
    mirror.statuses = [502, 502]
    assert _reason(source, store).startswith("the server answers 502 Bad Gateway (tried for 0 s)")
    down = replace(source, url="https://localhost:1/app.zip")
    assert _reason(down, store).startswith("the server cannot be reached: Connection refused (tried for 0 s)")


def test_a_certificate_that_nobody_vouches_for(
    mirror: Mirror, source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    reason = _reason(source, PackageStore(tmp_path))
    assert reason.startswith("its certificate is not valid: self-signed certificate; name the file of its authority in")
    assert mirror.requests == []


def test_secrets_go_to_the_host_of_the_address_and_to_no_other(mirror: Mirror, source: Source, tmp_path: Path) -> None:
    store = PackageStore(tmp_path)
    elsewhere = mirror.url.replace("localhost", "127.0.0.1")
    mirror.redirects = {"/new": "/newer", "/newer": f"{elsewhere}/app.zip"}
    pull(replace(source, url=f"{mirror.url}/new"), store, HURRIED)
    sent = [(path, headers.get("authorization")) for path, headers in mirror.requests]
    assert sent == [("/new", "Bearer t"), ("/newer", "Bearer t"), ("/app.zip", None)]
    store.path(SHA256).unlink()
    mirror.redirects = {"/new": "http://example.com/app.zip?token=s3cret", "/loop": "/loop"}
    reason = _reason(replace(source, url=f"{mirror.url}/new"), store)
    assert reason.startswith("it redirects to http://example.com/app.zip, which is not encrypted: write https")
    mirror.redirects["/new"] = "http://localhost:1/app.zip"
    assert _reason(replace(source, url=f"{mirror.url}/new"), store).endswith(
        "localhost:1/app.zip, which is not encrypted"
    )
    assert "redirect" in _reason(replace(source, url=f"{mirror.url}/loop"), store)


async def test_two_pulls_of_one_package_at_once(mirror: Mirror, source: Source, tmp_path: Path) -> None:
    content = make_zip(("app.py", os.urandom(1_000_000)))
    mirror.files["/app.zip?signature=s3cret"] = content
    source = replace(source, sha256=sha256(content).hexdigest())
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            store = PackageStore(tmp_path)
            tasks.start_soon(anyio.to_thread.run_sync, pull, source, store, replace(HURRIED, pause_s=0.1))
    assert store.path(source.sha256).read_bytes() == content
    assert store.received(source.sha256) == 0


async def test_a_pull_ends_with_the_task_that_wants_it(mirror: Mirror, source: Source, tmp_path: Path) -> None:
    patient = Patience(pause_s=60, longest_pause_s=60)
    mirror.statuses = [503] * 2
    mirror.was_asked.clear()
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.to_thread.run_sync, pull, source, PackageStore(tmp_path), patient)
            await anyio.to_thread.run_sync(mirror.was_asked.wait, 20)
            tasks.cancel_scope.cancel()
    assert len(mirror.requests) == 1


async def test_another_forklight_gives_its_packages_to_whoever_has_a_deploy_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair, key, theirs, ours = make_pair(tmp_path), new_key(), PackageStore(tmp_path), PackageStore(tmp_path / "ours")
    monkeypatch.setenv("SSL_CERT_FILE", str(pair.certificate))
    (tmp_path / "keys").write_bytes(msgspec.json.encode({"ci": Key(sha256=digest(key), created="", deploy=True)}))
    put(theirs, CONTENT)
    ours.append(SHA256, 0, CONTENT[:1000])
    async with serving(tmp_path, tls=renewing_context(*pair), deployer=Recorder(tmp_path)) as asked:
        url, headers = f"https://localhost:{asked.port}/packages/{SHA256}", {"Authorization": f"Bearer {key}"}
        source = Source(url=url, sha256=SHA256, headers=headers)
        for wrong, status in (
            ({}, "404 Not Found: check the url"),
            ({"Authorization": "Bearer x"}, "401 Unauthorized"),
        ):
            with pytest.raises(PullFailed, match=f"the server answers {status}"):
                await anyio.to_thread.run_sync(pull, replace(source, headers=wrong), ours, HURRIED)
        await anyio.to_thread.run_sync(pull, source, ours, HURRIED)
    assert ours.path(SHA256).read_bytes() == CONTENT


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a disk")
def test_what_does_not_fit_on_the_disk_is_not_pulled(mirror: Mirror, source: Source, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 16) as disk:
        store = PackageStore(disk / "state")
        told = f"the package {SHA256[:12]} does not fit on the disk of {disk}: it needs 0.1 MB, and 16.8 MB are left to"
        assert _reason(source, store).startswith(told)
        assert (len(mirror.requests), store.received(SHA256)) == (1, 0)
