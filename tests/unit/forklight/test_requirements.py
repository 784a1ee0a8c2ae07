"""Requirements files: what they name, and the commands that install them."""

from pathlib import Path

import pytest

from forklight.code.interpreter import own_interpreter
from forklight.config.requirements import RequirementsError, has_hashes, read_requirements
from forklight.config.runtimes import Environment
from forklight.serving.installing import commands


def test_the_files_it_names_belong_to_it(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "a.txt").write_text("-r more/b.txt\n  --constraint=c.txt  # why\nx==1\n-r https://example.com/d.txt\n")
    (tmp_path / "more/b.txt").write_text("--requirement ../a.txt\ny==1\n")
    (tmp_path / "c.txt").write_text("z==1 \\\n  --hash=sha256:00\n")
    texts = read_requirements(tmp_path / "a.txt")
    assert {name: text[:4] for name, text in texts.items()} == {
        "a.txt": "-r m",
        "more/b.txt": "--re",
        "c.txt": "z==1",
    }
    assert has_hashes(texts)
    assert not has_hashes({"a.txt": texts["a.txt"]})


def test_files_that_name_each_other_end(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "a.txt").write_text("-r more/b.txt\n")
    (tmp_path / "more/b.txt").write_text("-r ../more/b.txt\n-r ../a.txt\n")
    assert set(read_requirements(tmp_path / "a.txt")) == {"a.txt", "more/b.txt"}


@pytest.mark.parametrize(
    ("content", "message"), [(None, "no.txt cannot be read: No such file"), (b"\xff", "no.txt is not valid UTF-8")]
)
def test_what_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    (tmp_path / "a.txt").write_text("-r no.txt\n")
    if content is not None:
        (tmp_path / "no.txt").write_bytes(content)
    with pytest.raises(RequirementsError, match=message):
        read_requirements(tmp_path / "a.txt")


def test_uv_is_used_if_it_is_there() -> None:
    base = own_interpreter()
    environment = Environment("app", Path("/app/r.txt"), base, Path("/s/runtimes/app-1"))
    make, fill = commands(environment, "/bin/uv", hashed=False)
    assert make == ["/bin/uv", "venv", "--quiet", "--no-project", "--python", str(base.python), "/s/runtimes/app-1"]
    assert fill[:5] == ["/bin/uv", "pip", "install", "--python", "/s/runtimes/app-1/bin/python"]
    assert fill[-2:] == ["-r", "/app/r.txt"]
    assert "--require-hashes" not in fill
    assert "--require-hashes" in commands(environment, "/bin/uv", hashed=True)[1]
    make, fill = commands(environment, None, hashed=True)
    assert make == [str(base.python), "-I", "-m", "venv", "/s/runtimes/app-1"]
    assert fill[:4] == ["/s/runtimes/app-1/bin/python", "-I", "-m", "pip"]
