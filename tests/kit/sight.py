"""What the tests of renewal share: the decision about an application that is given as texts."""

from collections.abc import Mapping
from hashlib import sha256

from forklight.code.references import References, references
from forklight.code.sight import Loaded, module_of, why_renew

Code = dict[str, str]
"""Files of an application: names and texts."""


def references_in(code: Code, name: str) -> References:
    return references(code[name].encode(), module_of(name) or "", is_package=name.endswith("__init__.py"))


def contents(code: Mapping[str, str]) -> dict[str, str]:
    return {name: sha256(text.encode()).hexdigest() for name, text in code.items()}


def decided(before: Code, after: Code, loaded: list[str] | None, entry: str) -> str:
    files = None if loaded is None else frozenset(loaded)
    was = Loaded(contents=contents(before), entries=(entry,), files=files)
    return why_renew(was, contents(after), lambda name: references_in(before, name))
