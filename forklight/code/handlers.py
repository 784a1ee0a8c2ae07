"""Whether the code has the handlers and hooks that are named, found by reading it. What cannot be told passes.

`module:attribute` is followed from the module's file to the definition. The rules of how a handler is called are the
guest's own: it judges an empty function with the same parameters.
"""

import ast
import builtins
from collections.abc import Callable

from msgspec import Struct

from bus.hint import did_you_mean
from forklight.code.modules import Code, Module, bindings
from sandbox.guest._forklight.signature import Unusable, is_async, one_at_a_time, takes_context

_MOST_STEPS = 20
"""Names and imports that are followed from the handler to its definition."""
_MOST_NAMES = 8
_VALUES = {ast.List: "list", ast.Tuple: "tuple", ast.Dict: "dict", ast.Set: "set", ast.JoinedStr: "str"}

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


class Fault(Struct, frozen=True):
    """Why a handler or hook cannot work: the end of a sentence about it. `file` and `line` are where, if known."""

    message: str
    file: str = ""
    line: int = 0
    is_certain: bool = True
    is_absent: bool = False
    """Whether there is nothing of this name."""


class _Found(Struct, frozen=True):
    """A definition, in its module, and the class around it."""

    node: ast.AST
    module: Module
    owner: ast.ClassDef | None = None


def module_fault(name: str, code: Code, is_installed: Callable[[str], bool]) -> str:
    """Return the end of "there is no module … in the code" if neither that nor the runtime has it, or nothing."""
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        part = ".".join(parts[:end])
        module = code.module(part)
        if module is not None and module.has_path:
            return ""
        if module is not None or code.is_folder(part):
            continue
        is_in_package = end > 1 and code.module(parts[0]) is not None
        if code.is_compiled(part) or (not is_in_package and is_installed(parts[0])):
            return ""
        near = did_you_mean(name, code.names())
        listed = _listed(code.names()) or "none"
        elsewhere = f", and {parts[0]!r} is not installed in its runtime" if end == 1 else ""
        return f"{near or f', which has {listed}'}{elsewhere}"
    return ""


def handler_fault(target: str, code: Code) -> Fault | None:
    """Return why `module:attribute` cannot be called as a handler, or None. Its module is one of the code."""
    found = _find(target, code)
    if not isinstance(found, _Found):
        return found
    node, place = found.node, _place(found)
    if isinstance(node, ast.ClassDef) and not (node.decorator_list or node.keywords):
        return Fault("is a class: name a function, or an instance that has __call__", *place)
    if (stub := _stub(found)) is None:
        return _not_callable(node, place)
    try:
        takes_context(stub)
    except Unusable as error:
        return Fault(str(error), *place)
    if found.owner is not None and _takes_self(found):
        method, owner = found.node.name, found.owner.name  # type: ignore[attr-defined]  # of a definition in a class
        advice = f'write app = {owner}() in the module and name "module:app.{method}"'
        return Fault(f"takes self, but is called without an instance: {advice}", *place, is_certain=False)
    return None


def hook_fault(target: str, code: Code, *, may_be_async: bool) -> Fault | None:
    """Return why `module:attribute` cannot be called as a hook, without arguments, or None."""
    found = _find(target, code)
    if not isinstance(found, _Found):
        return found
    place = _place(found)
    if (stub := _stub(found)) is None:
        return _not_callable(found.node, place)
    if is_async(stub) and not may_be_async:
        return Fault("must be `def`: only the stop hook of an async handler may be async", *place)
    arguments = _arguments(found)
    positional = len(arguments.posonlyargs) + len(arguments.args) - len(arguments.defaults)
    if positional > 0 or any(default is None for default in arguments.kw_defaults):
        return Fault("needs arguments, but a hook is called without any", *place)
    return None


def concurrency_fault(target: str, code: Code, concurrency: int) -> Fault | None:
    """Return why the handler cannot run so many calls at a time in one instance, or None."""
    found = _find(target, code)
    if concurrency == 1 or is_async_handler(target, code) or not isinstance(found, _Found):
        return None
    return Fault(one_at_a_time(concurrency), *_place(found))


def is_async_handler(target: str, code: Code) -> bool:
    """Whether the handler may be async: it is, or that cannot be told."""
    found = _find(target, code)
    if not isinstance(found, _Found):
        return True
    stub = _stub(found)
    return stub is None or is_async(stub)


def _find(target: str, code: Code) -> "_Found | Fault | None":
    """Follow the target to its definition. None: it cannot be told."""
    name, _, attribute = target.partition(":")
    module = code.module(name)
    if module is None or module.tree is None:
        return None
    first, *rest = attribute.split(".")
    found = _global(module, first, code, _MOST_STEPS)
    for part in rest:
        if not isinstance(found, _Found) or not isinstance(found.node, ast.ClassDef):
            return found if isinstance(found, Fault) else None
        found = _member(found.node, found.module, part)
    return found


def _global(module: Module, name: str, code: Code, steps: int) -> "_Found | Fault | None":
    values = module.names.get(name)
    if values is None:
        if module.is_open or hasattr(builtins, name) or name.startswith("__"):
            return None
        if code.module(f"{module.name}.{name}") or code.is_folder(f"{module.name}.{name}"):
            return None
        return Fault(f"does not exist: {_alternatives(module, name)}", is_absent=True)
    if len(values) > 1 or steps == 0:
        return None
    match values[0]:
        case ast.Name(id=other) if other in module.names:
            return _global(module, other, code, steps - 1)
        case ast.ImportFrom() as statement:
            return _imported(module, name, statement, code, steps)
        case None:
            return None
        case node:
            return _Found(node, module)


def _imported(module: Module, name: str, statement: ast.ImportFrom, code: Code, steps: int) -> "_Found | Fault | None":
    original = next(alias.name for alias in statement.names if name in (alias.asname, alias.name))
    origin = module.origin(statement)
    source = code.module(origin) if origin else None
    if source is None or source.tree is None or source is module:
        return None
    found = _global(source, original, code, steps - 1)
    if isinstance(found, Fault) and not found.file:
        return Fault(
            f"is imported from {source.file.name}, where it {found.message}", module.file.name, statement.lineno
        )
    return found


def _member(owner: ast.ClassDef, module: Module, name: str) -> "_Found | Fault | None":
    values = bindings(owner.body, owner).get(name)
    if values is None:
        is_plain = not (owner.decorator_list or owner.keywords or owner.bases or module.is_open)
        is_set = any(
            isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store) and n.attr == name for n in _nodes(module)
        )
        if not is_plain or is_set or name.startswith("__"):
            return None
        return Fault(f"does not exist: the class {owner.name} has no {name!r}", module.file.name, owner.lineno)
    return _Found(values[0], module, owner) if len(values) == 1 and values[0] is not None else None


def _alternatives(module: Module, name: str) -> str:
    functions = [
        one
        for one, values in module.names.items()
        if not one.startswith("_") and isinstance(values[0], ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    ]
    near = did_you_mean(name, functions or sorted(module.names))
    return f"{module.file.name} has {_listed(sorted(functions)) or 'no functions'}{near}"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_MOST_NAMES]) + ", …" * (len(names) > _MOST_NAMES)


def _stub(found: _Found) -> Callable[..., object] | None:
    """An empty function with the parameters of the definition; None if what decorates it may change them."""
    node = found.node
    if not isinstance(node, Function):
        return None
    if not isinstance(node, ast.Lambda) and any(_name(one) != "staticmethod" for one in node.decorator_list):
        return None
    kept = _arguments(found)
    empty = ast.Constant(None)
    arguments = ast.arguments(
        posonlyargs=[ast.arg(one.arg) for one in kept.posonlyargs],
        args=[ast.arg(one.arg) for one in kept.args],
        vararg=kept.vararg and ast.arg(kept.vararg.arg),
        kwonlyargs=[ast.arg(one.arg) for one in kept.kwonlyargs],
        kw_defaults=[default and empty for default in kept.kw_defaults],
        kwarg=kept.kwarg and ast.arg(kept.kwarg.arg),
        defaults=[empty for _ in kept.defaults],
    )
    kind = ast.AsyncFunctionDef if isinstance(node, ast.AsyncFunctionDef) else ast.FunctionDef
    body: list[ast.stmt] = [ast.Expr(ast.Yield()) if _yields(node) else ast.Pass()]
    stub = kind(name="handler", args=arguments, body=body, decorator_list=[])
    scope: dict[str, Callable[..., object]] = {}
    try:
        exec(compile(ast.fix_missing_locations(ast.Module([stub], [])), "handler", "exec"), scope)  # noqa: S102
    except (SyntaxError, ValueError):
        return None
    return scope["handler"]


def _arguments(found: _Found) -> ast.arguments:
    assert isinstance(found.node, Function)
    return found.node.args


def _yields(node: Function) -> bool:
    """Whether it is a generator: a `yield` of its own, not of a function in it."""
    waiting: list[ast.AST] = [node.body] if isinstance(node, ast.Lambda) else list(node.body)
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, ast.Yield | ast.YieldFrom):
            return True
        if not isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            waiting += ast.iter_child_nodes(inner)
    return False


def _takes_self(found: _Found) -> bool:
    arguments = _arguments(found)
    first = [*arguments.posonlyargs, *arguments.args][:1]
    return bool(first) and first[0].arg == "self"


def _not_callable(node: ast.AST, place: tuple[str, int]) -> Fault | None:
    kind = type(node.value).__name__ if isinstance(node, ast.Constant) else _VALUES.get(type(node))
    return Fault(f"is not callable, it is an object of type {kind}", *place) if kind else None


def _place(found: _Found) -> tuple[str, int]:
    return found.module.file.name, getattr(found.node, "lineno", 0)


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else ""


def _nodes(module: Module) -> list[ast.AST]:
    return list(ast.walk(module.tree)) if module.tree else []
