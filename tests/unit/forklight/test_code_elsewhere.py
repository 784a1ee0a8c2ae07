"""`code` as a table: what it becomes, and what is wrong with it, in its place."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from forklight.checking.check import check_code
from forklight.config.configuration import Config, load
from forklight.config.deployable import load_deployable
from forklight.config.deployed import load_deployed
from forklight.config.problem import ConfigError
from forklight.packages.source import Source
from forklight.serving.deployments import Deployments, Loaded
from forklight.serving.versions import Versions
from forklight.state.releases import NONE, Application, Release

SHA256 = "0123456789abcdef" * 4
URL = 'url = "https://example.com/a.zip"'
F = '[functions.f]\nhandler = "f:h"\n'


def loaded(folder: Path, toml: str, **environ: str) -> Config:
    (folder / "forklight.toml").write_text(toml)
    return load(folder, environ)


def problems(folder: Path, toml: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loaded(folder, toml)
    return [str(one).replace(f"{folder}/forklight.toml:", "") for one in caught.value.problems]


def test_an_address_with_its_hash_and_headers(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t0ken\n")
    toml = f"""
[defaults.code]
url = "https://example.com/a.zip?v=1"
sha256 = "sha256:{SHA256.upper()}"
headers = {{ Accept = "application/zip", X-Key = {{ file = "token" }} }}
[functions.all]
handler = "f:h"
[functions.own]
handler = "f:h"
code = {{ url = "http://127.0.0.1:9/b.zip", sha256 = "{SHA256}", pull = "first" }}
[functions.here]
handler = "f:h"
code = "."
"""
    config = loaded(tmp_path, toml)
    everywhere, own, here = (config.functions[name] for name in ("all", "own", "here"))
    headers = {"Accept": "application/zip", "X-Key": "t0ken"}
    assert everywhere.source == Source(url="https://example.com/a.zip?v=1", sha256=SHA256, headers=headers)
    assert "t0ken" not in repr(config)
    assert tmp_path / "token" in config.no_code
    assert own.source == Source(url="http://127.0.0.1:9/b.zip", sha256=SHA256, pull="first")
    assert own.code == everywhere.code == config.state / f"packages/{SHA256}.zip"
    assert (here.source, here.code) == (None, tmp_path)
    assert [one.pool.rest for one in (everywhere, own, here)] == ["template", "none", "template"]
    assert not config.state.exists()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ('code = "https://example.com/a.zip"', "3 functions.f.code: needs a hash: write code = { url = "),
        (f"code = {{ {URL} }}", "functions.f.code: needs sha256"),
        (f'code = {{ {URL}, sha256 = "abc" }}', '3 functions.f.code.sha256: "abc" is not a SHA-256: write its 64'),
        (f'code = {{ {URL}, path = "a", sha256 = "{SHA256}" }}', "has a path and a url: write one of them"),
        ('code = { path = "a", pull = "first" }', "are for code from a url"),
        (f'code = {{ {URL}, digest = "{SHA256}" }}', "unknown key: write sha256"),
        ('code = { url = "http://example.com/a.zip" }', "is not encrypted: write https"),
        ('code = { url = "https://me:pw@example.com/a.zip" }', "holds a password: write headers"),
        ('code = { url = "example.com/a.zip" }', "is not an address: write one such as"),
        ('code = { url = "https://example.com/ä.zip" }', "has a character that an address cannot have"),
        ("code = 3", 'must be a table, not an integer: write "src", or { url ='),
        (f'code = {{ {URL}, sha256 = "{SHA256}", pull = "late" }}', '"late" is not "ahead" or "first"'),
    ],
)
def test_what_is_wrong_with_code(tmp_path: Path, code: str, message: str) -> None:
    found = problems(tmp_path, F + code)
    assert any(message in one for one in found), found


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ('A = { env = "NONE" }', "needs the environment variable NONE, which is not set"),
        ('A = { file = "none" }', "none cannot be read: No such file or directory"),
        ('A = { value = "x", env = "y" }', 'write { env = "TOKEN" }, { file = "secrets/token" } or a string'),
        ('A = { value = "x", prefix = "y" }', "prefix is for secrets"),
        ('"A B" = "x"', '"A B" is not the name of a header'),
        ('Range = "x"', '"Range" is set by Forklight itself: leave it out'),
        ('A = "x\\ny"', "has characters that no header can have"),
        ('A = ""', "is empty"),
    ],
)
def test_what_is_wrong_with_a_header(tmp_path: Path, headers: str, message: str) -> None:
    [found] = problems(tmp_path, f'{F}code = {{ {URL}, sha256 = "{SHA256}", headers = {{ {headers} }} }}')
    assert found.startswith("3 functions.f.code.headers")
    assert message in found


def test_an_application_that_was_deployed_has_the_secrets_that_the_operator_lends_it(tmp_path: Path) -> None:
    state, folder = tmp_path / "state", tmp_path / "unpacked"
    folder.mkdir()
    server = loaded(tmp_path, '[deploy]\nenv = ["SHOP_*"]\n')
    code = (
        f'{F}code = {{ {URL}, sha256 = "{SHA256}", headers = {{ A = {{ env = "SHOP_KEY" }}, B = {{ file = "b" }} }} }}'
    )
    (folder / "forklight.toml").write_text(code)
    with pytest.raises(ConfigError, match=r"headers.B: needs the file .*/secrets/shop/b on the server"):
        load_deployed("shop", folder, server, state, {"SHOP_KEY": "1"})
    (state / "secrets/shop").mkdir(parents=True)
    (state / "secrets/shop/b").write_text("2")
    source = load_deployed("shop", folder, server, state, {"SHOP_KEY": "1"}).functions["f"].source
    assert source is not None
    assert source.headers == {"A": "1", "B": "2"}
    (folder / "forklight.toml").write_text(code.replace("SHOP_KEY", "ROOT_KEY"))
    with pytest.raises(
        ConfigError, match=r"headers.A: needs the environment variable ROOT_KEY of the server, which app"
    ):
        load_deployed("shop", folder, server, state, {"SHOP_KEY": "1", "ROOT_KEY": "3"})


def test_before_a_deploy_nothing_is_pulled_and_what_is_packed_is_in_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    (folder / "src").mkdir(parents=True)
    code = f'{URL}, sha256 = "{SHA256}", headers = {{ A = {{ env = "NONE" }}, B = {{ file = "keys/b" }} }}'
    toml = f'[functions.f]\nhandler = "f:h"\ncode = {{ {code} }}\n[functions.g]\nhandler = "g:h"\ncode = "src"\n'
    (folder / "forklight.toml").write_text(toml)
    found = load_deployable(folder, {})
    assert found.code == {folder / "src"}
    assert found.also == {folder / "forklight.toml"}
    assert folder / "keys/b" in found.apart
    assert found.config is not None
    assert check_code(found.config, found.apart).config.functions["f"].source is not None
    (folder / "forklight.toml").write_text(toml.replace('"src"', '"../shop2"').replace("keys/b", "/etc/b"))
    (tmp_path / "shop2").mkdir()
    with pytest.raises(ConfigError) as caught:
        load_deployable(folder, {})
    assert {one.key for one in caught.value.problems} == {"functions.f.code.headers.B", "functions.g.code"}


def test_what_code_comes_from_is_kept_as_long_as_something_may_be_served_from_it(tmp_path: Path) -> None:
    def elsewhere(digit: str) -> Loaded:
        config = loaded(tmp_path, f'{F}code = {{ {URL}, sha256 = "{digit * 64}" }}')
        return Loaded(config=config, versions=Versions(functions={}, code={}, settings={}))

    release = Release(number=1, package="3" * 64, at=datetime.now(UTC), by="me", size_bytes=1)
    now = Deployments(base=elsewhere("1"), loaded={("shop", 1): elsewhere("2")})
    now = now.with_application("shop", Application(releases=(release,), live=1, last=1))
    assert now.packages() == {"1" * 64, "2" * 64, "3" * 64}
    assert now.with_application("shop", NONE).packages() == {"1" * 64}
