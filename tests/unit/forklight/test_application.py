"""What an application is called on a broker, and by what its nodes are known: not by the rest of its configuration."""

from pathlib import Path

import pytest

from bus.rabbitmq import Application
from forklight.config.configuration import load
from forklight.serving.application import application_name, application_of

TOML = '[functions.f]\nhandler = "app:f"\n'


def made(folder: Path, toml: str = TOML, name: str = "forklight.toml", code: str = "") -> Application:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(toml)
    (folder / "app.py").write_text(code)
    return application_of(load(folder / name, {}))


@pytest.mark.parametrize(
    ("file", "more", "name"),
    [
        ("Shop 2/forklight.toml", "", "shop-2"),
        ("shop/staging.toml", "", "shop-staging"),
        ("shop/forklight.toml", '[bus]\nname = "Billing"\n', "billing"),
    ],
)
def test_the_name(tmp_path: Path, file: str, more: str, name: str) -> None:
    path = tmp_path / file
    assert made(path.parent, TOML + more, path.name).name == name


def test_a_single_file_has_its_own_name(tmp_path: Path) -> None:
    file = tmp_path / "hello.py"
    file.write_text("def handler(event):\n    pass\n")
    assert application_name(load(file, {})) == "hello"


def test_a_newer_configuration_is_the_same_application(tmp_path: Path) -> None:
    first = made(tmp_path / "a")
    assert made(tmp_path / "a", TOML + 'timeout = "5s"\n') == first
    assert made(tmp_path / "a", TOML + '[functions.g]\nhandler = "app:f"\n') == first
    assert made(tmp_path / "a", code="x = 1").path == first.path


def test_the_same_code_elsewhere_is_known_by_it(tmp_path: Path) -> None:
    assert made(tmp_path / "a").code == made(tmp_path / "b").code != made(tmp_path / "c", code="x = 1").code


def test_a_link_to_the_release_is_what_stays(tmp_path: Path) -> None:
    made(tmp_path / "releases" / "7")
    (tmp_path / "current").symlink_to("releases/7")
    application = application_of(load(tmp_path / "current", {}))
    assert (application.name, application.path) == ("current", str(tmp_path / "current" / "forklight.toml"))
