"""How a handler is to be called, from what it is: with or without a context, and awaited or not.

A handler gets the context if its second positional parameter has no default or is named `context`, or if `*args` would
catch it: `(event, context)`, `(event, context=None)` and `(*args)` do, `(event)` and `(event, retries=3)` do not.

Of a decorated function its own parameters count, as it is they that Python will match, and not those of the function it
wraps, which `functools.wraps` has it claim. Only where the decorator takes anything (`*args`) and hands it on does the
wrapped function say what that should be.
"""

from types import CodeType, FunctionType, MethodType
from typing import Any, NamedTuple

# inspect.CO_*, without the import of inspect: most templates need it for nothing else.
_VARARGS = 0x04
_COROUTINE = 0x80
_GENERATORS = 0x20 | 0x200

_AS_CALLED = "but is called as (event) or (event, context)"


class Unusable(Exception):
    """Not a handler; the message completes a sentence that begins with its name."""


class _Application(Unusable):
    """A handler of another kind, whoever has wrapped it."""


class _Parameters(NamedTuple):
    positional: list[str]
    required: int
    """how many of the positional ones have no default"""
    catches_rest: bool
    required_keyword: str | None


def takes_context(call: Any) -> bool:
    """By the rule above. Raises Unusable for what is no handler: a class, a generator, a wrong number of parameters."""
    if not callable(call):
        raise Unusable(f"is not callable, it is an object of type {type(call).__name__}")
    if isinstance(call, type):
        raise Unusable("is a class: name a function, or an instance that has __call__")
    if _code_flags(call) & _GENERATORS:
        raise Unusable("is a generator function, and this version cannot stream: return the whole body")
    parameters = _parameters(call)
    _refuse_application(call, [] if parameters is None else parameters.positional)
    if parameters is None or (parameters.catches_rest and len(parameters.positional) < 2):
        return _wants_context(_wrapped_by(call))
    names = parameters.positional
    if parameters.required_keyword is not None:
        raise Unusable(f"needs the keyword {parameters.required_keyword!r}, {_AS_CALLED}")
    if parameters.required > 2:
        raise Unusable(f"needs {parameters.required} arguments, {_AS_CALLED}")
    if not names:
        raise Unusable(f"takes no argument, {_AS_CALLED}")
    if len(names) > 1:
        return parameters.required == 2 or names[1] == "context"
    return False


def _wants_context(wrapped: Any) -> bool:
    """Of the function that gets whatever its decorator gets; True if there is none, or it gets something else."""
    try:
        return wrapped is None or takes_context(wrapped)
    except _Application:
        raise
    except (Unusable, RecursionError):  # RecursionError: it wraps itself
        return True


def _wrapped_by(call: Any) -> Any:
    """What a decorator has wrapped (`__wrapped__`), bound as the decorator is; None if it does not say."""
    if isinstance(call, MethodType):
        inner = getattr(call.__func__, "__wrapped__", None)
        return None if inner is None else MethodType(inner, call.__self__)
    if type(call).__name__ == "partial" and hasattr(call, "func"):
        inner = _wrapped_by(call.func)
        return None if inner is None else type(call)(inner, *call.args, **call.keywords)
    inner = getattr(call, "__wrapped__", None)
    if inner is not None or isinstance(call, FunctionType):
        return inner
    method = getattr(call, "__call__", None)  # noqa: B004 - not asked whether: an object with a decorated method
    return _wrapped_by(method) if isinstance(method, MethodType) else None


def _refuse_application(call: Any, names: list[str]) -> None:
    """Raises _Application for what is one, by the names that PEP 3333 and ASGI give its arguments."""
    if "start_response" in names[1:2]:
        dialect = "a WSGI"
    elif names[:3] == ["scope", "receive", "send"] or names == ["scope"]:
        dialect = "an ASGI"
    else:
        return
    kind = type(call)
    what = "" if isinstance(call, (FunctionType, MethodType)) else f" of type {kind.__module__}.{kind.__qualname__}"
    raise _Application(
        f"is {dialect} application{what}, and this version runs none: name a function that takes (event) or "
        f"(event, context), such as one of its views, rewritten (docs/from-functions-framework.md tells how)"
    )


def is_async(call: Any) -> bool:
    """`async def`, also inside functools.partial, a bound method or an object whose `__call__` is one."""
    function = _function_in(call)
    # inspect.markcoroutinefunction, since Python 3.12, says so of a function that is none by its code.
    return bool(_code_flags(call) & _COROUTINE) or hasattr(function, "_is_coroutine_marker")


def _code_flags(call: Any) -> int:
    code = getattr(_function_in(call), "__code__", None)
    return code.co_flags if isinstance(code, CodeType) else 0


def _function_in(call: Any) -> Any:
    """The Python function that runs in the end, if it is one."""
    while type(call).__name__ == "partial" and hasattr(call, "func"):
        call = call.func
    call = getattr(call, "__func__", call)
    return call if isinstance(call, FunctionType) else getattr(type(call), "__call__", None)  # noqa: B004 - not asked whether


def _parameters(call: Any) -> _Parameters | None:
    """None if a callable written in C does not tell."""
    if isinstance(call, FunctionType) and not vars(call) and not call.__code__.co_kwonlyargcount:
        code = call.__code__
        names = list(code.co_varnames[: code.co_argcount])
        required = code.co_argcount - len(call.__defaults__ or ())
        return _Parameters(names, required, bool(code.co_flags & _VARARGS), None)
    import inspect

    try:
        parameters = inspect.signature(call, follow_wrapped=False).parameters.values()
    except (TypeError, ValueError):
        return None
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = sum(p.default is p.empty for p in positional)
    catches_rest = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    keywords = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    return _Parameters([p.name for p in positional], required, catches_rest, keywords[0] if keywords else None)
