"""From nodes to settings: any frozen msgspec struct can be read from a TOML table, with every problem in its place.

How a package declares its settings:

- a field is a key of the same name, without the unit: `timeout_s: float` reads `timeout = "10s"`, `memory_bytes: int`
  reads `memory = "512MiB"`; both demand a string with a unit;
- numbers, durations and sizes must be more than zero unless `Annotated[..., Meta(ge=0)]` says otherwise;
- a `Path` is relative to the configuration's directory;
- a class with a class method `parse(text)`, which raises ValueError, is written as a string;
- a field without a default is required, and its type is a string or has an `example`, a string that shows how;
- a struct may have a class variable `example`, the TOML of one, for messages about anything else, and one `elsewhere`:
  what to say of a key that belongs to another table;
- structs, `dict[str, X]`, `tuple[X, ...]` and `X | None` nest; a `Literal` is one of its strings; `int | str | bool` is
  any of these, and `bool | tuple[X, ...]` either;
- `Annotated[Limits, flat()]` puts the keys of another package's struct into the same table; a package
  that cannot import this one writes `Meta(extra={"flat": True})`;
- `__post_init__` may raise ValueError for keys that do not go together.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

from msgspec import Meta, Struct, inspect

from forklight.config import units
from forklight.config.document import Node
from forklight.config.expand import expand
from forklight.config.hint import did_you_mean, right_form
from forklight.config.problem import Problem

T = TypeVar("T", bound=Struct)

_NOTHING = object()
_FEW = 10
"""Keys that can all be named in one message."""
_NAMES = {bool: "true or false", int: "an integer", float: "a number", str: "a string", dict: "a table", list: "a list"}


class Key(NamedTuple):
    """The field that a key sets, and the struct that the field is of."""

    field: inspect.Field
    owner: type[Struct]


def keys(cls: type[Struct]) -> dict[str, Key]:
    """Return the keys that the table of `cls` may have, including those of flat structs."""
    found: dict[str, Key] = {}
    for field in _fields(cls):
        extra = _flat_mark(field)
        if extra is None:
            found[field.name.removesuffix("_bytes").removesuffix("_s")] = Key(field, cls)
        else:
            within = keys(_struct_class(field))
            found |= {key: inner for key, inner in within.items() if key not in extra.get("without", ())}
    return found


def without_marks(type_: inspect.Type) -> inspect.Type:
    """Return the type without `Annotated` and `| None`."""
    if isinstance(type_, inspect.Metadata):
        type_ = type_.type
    if isinstance(type_, inspect.UnionType):
        members = tuple(member for member in type_.types if not isinstance(member, inspect.NoneType))
        type_ = members[0] if len(members) == 1 else inspect.UnionType(members)
    return type_


def flat(*without: str) -> Meta:
    """Return the mark of a struct whose keys are in the table around it, except those in `without`."""
    return Meta(extra={"flat": True, "without": without})


class Reader:
    """Reads nodes and gathers `problems`. Paths are relative to `base`, and `${VAR}` reads `environ`.

    A value with a problem is left out or replaced by its default or example, so that reading continues.
    """

    def __init__(
        self, base: Path, environ: Mapping[str, str], belongs: Callable[[str, Node], str] = lambda key, table: ""
    ) -> None:
        """`belongs` says where a key that a table does not have belongs, or nothing."""
        self.base = base
        self.environ = environ
        self.problems: list[Problem] = []
        self.unset: list[Problem] = []
        """Those of the problems that are about variables of the environment."""
        self._belongs = belongs

    def struct(self, node: Node, cls: type[T], without: tuple[str, ...] = ()) -> T | None:
        """Return an instance of `cls`, or None if `node` is not a table or its keys do not go together."""
        if not isinstance(node.value, dict):
            self._wrong(node, dict, example=getattr(cls, "example", ""))
            return None
        known = {key: found.field for key, found in keys(cls).items()}
        values: dict[str, Any] = {}
        for key, child in node.value.items():
            if key in without or key not in known:
                elsewhere = "" if key in without else getattr(cls, "elsewhere", {}).get(key) or self._belongs(key, node)
                self.problems.append(child.problem(_unknown(key, known, without, elsewhere)))
            elif (value := self._field(child, known[key])) is not _NOTHING:
                values[key] = value
        for key, field in known.items():
            if field.required and key not in values:
                if key not in node.value and key not in without:
                    self.problems.append(node.problem(f'{key} is missing: write {key} = "{_example(field)}"'))
                values[key] = _example(field)
        try:
            return _build(cls, values)
        except ValueError as error:
            if node.value.keys() & known.keys() <= values.keys():  # else what is missing may be what is wrong
                self.problems.append(node.problem(str(error)))
            return None

    def forgive(self, needed: tuple[str, ...]) -> None:
        """Drop the problems of variables that are not set, but for those in the tables `needed`."""
        for problem in self.unset:
            if not any(problem.key == table or problem.key.startswith(f"{table}.") for table in needed):
                self.problems.remove(problem)

    def text(self, node: Node) -> str | None:
        """Return a string with its `${VAR}` replaced, or None."""
        if not isinstance(node.value, str):
            self._wrong(node, str)
            return None
        try:
            return expand(node.value, self.environ)
        except ValueError as error:
            self.problems.append(node.problem(str(error)))
            self.unset.append(self.problems[-1])
            return None

    def _field(self, node: Node, field: inspect.Field) -> Any:
        """Return the value of one key, or _NOTHING."""
        type_ = without_marks(field.type)
        if field.name.endswith("_s"):
            value = self._parsed(node, units.parse_duration, units.DURATION_FORM)
        elif field.name.endswith("_bytes"):
            value = self._parsed(node, units.parse_size, units.SIZE_FORM)
        else:
            value = self._value(node, type_)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and (problem := _out_of_bounds(value, type_)):
            self.problems.append(node.problem(problem))
            return _NOTHING
        return value

    def _value(self, node: Node, type_: inspect.Type) -> Any:
        match type_:
            case inspect.StructType(cls=cls):
                return _or_nothing(self.struct(node, cls))
            case inspect.DictType(key_type=key_type, value_type=value_type):
                return self._table(node, key_type, value_type)
            case inspect.VarTupleType(item_type=item_type):
                return self._list(node, item_type)
            case inspect.CustomType(cls=cls) if cls is Path:
                return self._path(node)
            case inspect.CustomType(cls=cls):
                if not isinstance(node.value, str):
                    return self._wrong(node, str, example=f'"{cls.example}"' if hasattr(cls, "example") else "")
                return self._parsed(node, _parser(type_), "")
            case inspect.StrType():
                return _or_nothing(self.text(node))
            case inspect.UnionType(types=types):
                return self._any(node, types)
            case inspect.LiteralType(values=choices):
                return self._choice(node, list(map(str, choices)))
        return self._plain(node, type_)

    def _path(self, node: Node) -> Any:
        if not isinstance(node.value, str):
            self.problems.append(node.problem(f"must be a string, the path of a file, not {_name(node.value)}"))
            return _NOTHING
        text = self.text(node)
        return _NOTHING if text is None else self.base / text

    def _table(self, node: Node, key_type: inspect.Type, value_type: inspect.Type) -> Any:
        if not isinstance(node.value, dict):
            item = getattr(value_type, "cls", None)
            named = f"[{node.key}.NAME] and the keys below it" if item else '{ NAME = "value" }'
            return self._wrong(node, dict, example=named)
        table: dict[str, Any] = {}
        for name, child in node.value.items():
            if isinstance(key_type, inspect.CustomType):
                self._parse(child, _parser(key_type), name, name)
            table[name] = self._value(child, value_type)
        return {name: value for name, value in table.items() if value is not _NOTHING}

    def _list(self, node: Node, item_type: inspect.Type) -> Any:
        if not isinstance(node.value, list):
            takes_text = isinstance(node.value, str) and not isinstance(item_type, inspect.StructType)
            return self._wrong(node, list, example=f'["{node.value}"]' if takes_text else "")
        items = [self._value(child, item_type) for child in node.value]
        return tuple(item for item in items if item is not _NOTHING)

    def _choice(self, node: Node, choices: list[str]) -> Any:
        text = self.text(node)
        if text is None or text in choices:
            return _or_nothing(text)
        allowed = " or ".join(f'"{choice}"' for choice in choices)
        self.problems.append(node.problem(f'"{node.value}" is not {allowed}{did_you_mean(text, choices)}'))
        return _NOTHING

    def _plain(self, node: Node, type_: inspect.Type) -> Any:
        expected = {inspect.BoolType: bool, inspect.IntType: int, inspect.FloatType: float}[type(type_)]
        if type(node.value) is expected or (expected is float and type(node.value) is int):
            return node.value
        return self._wrong(node, expected)

    def _any(self, node: Node, types: tuple[inspect.Type, ...]) -> Any:
        """Return true or false, and either a string or an integer or a list."""
        for type_ in types:
            if isinstance(type_, inspect.VarTupleType):
                return self._switch_or_list(node, type_.item_type)
        if isinstance(node.value, str):
            return _or_nothing(self.text(node))
        if isinstance(node.value, int):  # a bool is one, too
            return node.value
        self.problems.append(node.problem(f"must be a string, an integer, or true or false, not {_name(node.value)}"))
        return _NOTHING

    def _switch_or_list(self, node: Node, item_type: inspect.Type) -> Any:
        if isinstance(node.value, bool):
            return node.value
        if node.value == []:
            self.problems.append(node.problem("is an empty list: write false"))
            return _NOTHING
        if isinstance(node.value, list):
            return self._list(node, item_type)
        text = node.value if isinstance(node.value, str) else ""
        advice = right_form(text, bool) or (f': write ["{text}"]' if text else "")
        self.problems.append(node.problem(f"must be true, false or a list, not {_name(node.value)}{advice}"))
        return _NOTHING

    def _parsed(self, node: Node, parse: Callable[[str], Any], form: str) -> Any:
        if form and not isinstance(node.value, str):
            self.problems.append(node.problem(f"must be a string with a unit, not {_name(node.value)}: {form}"))
            return _NOTHING
        text = self.text(node)
        return _NOTHING if text is None else self._parse(node, parse, text, node.value)

    def _parse(self, node: Node, parse: Callable[[str], Any], text: str, written: str) -> Any:
        """Parse `text`; a message shows it as `written`, before `${VAR}` was replaced by what may be a secret."""
        try:
            return parse(text)
        except ValueError as error:
            self.problems.append(node.problem(f'"{written}" {error}'))
            return _NOTHING

    def _wrong(self, node: Node, expected: type, example: str = "") -> object:
        advice = f": write {example}" if example else right_form(node.value, expected)
        self.problems.append(node.problem(f"must be {_NAMES[expected]}, not {_name(node.value)}{advice}"))
        return _NOTHING


def _out_of_bounds(number: float, type_: inspect.Type) -> str:
    """Return what is wrong with a number, or nothing. A type that names no lower bound takes no zero."""
    least, most = getattr(type_, "ge", None), getattr(type_, "le", None)
    if least is None and number <= 0:
        return "must be more than zero"
    if least is not None and number < least:
        return f"must be at least {least}"
    return f"must be at most {most}" if most is not None and number > most else ""


def _build(cls: type[T], values: dict[str, Any]) -> T:
    arguments: dict[str, Any] = {}
    for field in _fields(cls):
        key = field.name.removesuffix("_bytes").removesuffix("_s")
        if _flat_mark(field) is not None:
            arguments[field.name] = _build(_struct_class(field), values)
        elif key in values:
            arguments[field.name] = values[key]
    return cls(**arguments)


@lru_cache(maxsize=256)  # there are a few dozen
def _fields(cls: type[Struct]) -> tuple[inspect.Field, ...]:
    info = inspect.type_info(cls)
    assert isinstance(info, inspect.StructType)
    return info.fields


def _flat_mark(field: inspect.Field) -> dict[str, Any] | None:
    extra = field.type.extra if isinstance(field.type, inspect.Metadata) else None
    return extra if extra and extra.get("flat") else None


def _struct_class(field: inspect.Field) -> type[Struct]:
    type_ = without_marks(field.type)
    assert isinstance(type_, inspect.StructType)
    return type_.cls


def _parser(type_: inspect.CustomType) -> Callable[[str], Any]:
    return cast("Callable[[str], Any]", cast("Any", type_.cls).parse)


def _or_nothing(value: Any) -> Any:
    return _NOTHING if value is None else value


def _name(value: Any) -> str:
    return _NAMES.get(type(value), "a date or time")


def _unknown(key: str, known: Iterable[str], without: tuple[str, ...], elsewhere: str) -> str:
    if key in without:
        return "has no default: write it below the [functions.NAME] that need it"
    if elsewhere:
        return f"unknown key: {elsewhere}"
    names = sorted(set(known) - set(without))
    hint = did_you_mean(key.replace("-", "_"), names)
    return f"unknown key{hint}" if hint or len(names) > _FEW else f"unknown key: there are {', '.join(names)}"


def _example(field: inspect.Field) -> str:
    type_ = without_marks(field.type)
    return str(getattr(getattr(type_, "cls", None), "example", "..."))
