"""docs/security.md says what the mechanisms are, and what was seen of attacks."""

from tests.kit.security import PAGE, page


def test_the_tables_are_what_the_code_says() -> None:
    text = PAGE.read_text()
    assert text == page(text), "docs/security.md is not up to date: run python -m tests.kit.security"
    assert "| user namespace | `namespaces` |" in text
    assert "### Files" in text
