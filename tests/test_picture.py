"""The pictures of the README, which scripts/record and `benchmarks.usage` draw."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PICTURE = DOCS / "first-minute.svg"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("picture", sorted(DOCS.glob("*.svg")), ids=lambda path: path.name)
def test_it_is_small_and_refers_to_nothing(picture: Path) -> None:
    text = picture.read_text()
    assert len(text) < 60_000
    assert not [word for word in ("href", "url(", "@import", "<image", "<script") if word in text]


def test_no_line_leaves_the_window() -> None:
    root = ElementTree.fromstring(PICTURE.read_text())
    ends = [
        float(text.attrib["x"]) + float(text.attrib["textLength"])
        for text in root.iter(f"{SVG}text")
        if "textLength" in text.attrib
    ]
    assert len(ends) > 20
    assert max(ends) <= float(root.attrib["width"])
