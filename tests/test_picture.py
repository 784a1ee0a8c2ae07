"""The picture of the README, which scripts/record draws."""

from pathlib import Path
from xml.etree import ElementTree

PICTURE = Path(__file__).parents[1] / "docs/first-minute.svg"
SVG = "{http://www.w3.org/2000/svg}"


def test_it_is_small_and_refers_to_nothing() -> None:
    text = PICTURE.read_text()
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
