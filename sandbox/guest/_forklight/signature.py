"""Decides from a handler's signature how to call it: with or without a context, and awaited or not.

A handler gets the context if its second positional parameter has no default or is named `context`, or if `*args` would
catch it: `(event, context)`, `(event, context=None)` and `(*args)` do, `(event)` and `(event, retries=3)` do not.

For a decorated function the parameters of the decorator's wrapper count, because Python matches the arguments against
those, and not the parameters of the wrapped function, which `functools.wraps` advertises. Only if the wrapper takes
`*args`, and so passes anything on, do the parameters of the wrapped function decide.
"""

from types import CodeType, FunctionType, MethodType
from typing import Any, NamedTuple

# inspect.CO_*, without the import of inspect: most templates need it for nothing else.
_VARARGS = 0x04
_COROUTINE = 0x80
_GENERATORS = 0x20 | 0x200

_AS_CALLED = "but is called as (event) or (event, context)"


class Unusable(Exception):
    """Not a handler. The message completes a sentence that begins with the name."""


class _Application(Unusable):
    """A WSGI or ASGI application, decorated or not."""


class _Parameters(NamedTuple):
    positional: list[str]
    required: int
    """the number of positional parameters without a default"""
    catches_rest: bool
    required_keyword: str | None


def takes_context(call: Any) -> bool:
    """The rule above. Raises Unusable for a class, a generator function, or a wrong number of parameters."""
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
    """The rule for a function behind a `*args` wrapper; True if there is none, or its own signature does not fit."""
    try:
        return wrapped is None or takes_context(wrapped)
    except _Application:
        raise
    except (Unusable, RecursionError):  # RecursionError: the function wraps itself
        return True


def _wrapped_by(call: Any) -> Any:
    """The function that a decorator has wrapped (`__wrapped__`), bound like the decorator's; None if unknown."""
    if isinstance(call, MethodType):
        inner = getattr(call.__func__, "__wrapped__", None)
        return None if inner is None else MethodType(inner, call.__self__)
    if type(call).__name__ == "partial" and hasattr(call, "func"):
        inner = _wrapped_by(call.func)
        return None if inner is None else type(call)(inner, *call.args, **call.keywords)
    inner = getattr(call, "__wrapped__", None)
    if inner is not None or isinstance(call, FunctionType):
        return inner
    method = getattr(call, "__call__", None)  # noqa: B004 - not a test: an object whose method may be decorated
    return _wrapped_by(method) if isinstance(method, MethodType) else None


def _refuse_application(call: Any, names: list[str]) -> None:
    """Raise _Application for a WSGI or ASGI application, recognised by the argument names of PEP 3333 and ASGI."""
    if "start_response" in names[1:2]:
        dialect = "a WSGI"
    elif names[:3] == ["scope", "receive", "send"] or names == ["scope"]:
        dialect = "an ASGI"
    else:
        return
    kind = type(call)
    what = "" if isinstance(call, (FunctionType, MethodType)) else f" of type {kind.__module__}.{kind.__qualname__}"
    raise _Application(
        f"is {dialect} application{what}, which this version does not support: name a function that takes (event) or "
        f"(event, context), such as one of its views, rewritten (see docs/from-functions-framework.md)"
    )


def is_async(call: Any) -> bool:
    """Whether `call` is `async def`, also as a functools.partial, a bound method or an object with async `__call__`."""
    function = _function_in(call)
    # inspect.markcoroutinefunction (Python 3.12) marks a function whose code is not a coroutine's.
    return bool(_code_flags(call) & _COROUTINE) or hasattr(function, "_is_coroutine_marker")


def one_at_a_time(concurrency: int) -> str:
    """Why a handler that is not async cannot have this `concurrency`: the end of a sentence about it."""
    return (
        f"is `def` and runs one call at a time, but the configuration has concurrency = {concurrency}: "
        "make it `async def`, or remove `concurrency` and raise `max_instances`"
    )


def _code_flags(call: Any) -> int:
    code = getattr(_function_in(call), "__code__", None)
    return code.co_flags if isinstance(code, CodeType) else 0


def _function_in(call: Any) -> Any:
    """The Python function behind partials, methods and `__call__`, or None."""
    while type(call).__name__ == "partial" and hasattr(call, "func"):
        call = call.func
    call = getattr(call, "__func__", call)
    return call if isinstance(call, FunctionType) else getattr(type(call), "__call__", None)  # noqa: B004 - not a test


def _parameters(call: Any) -> _Parameters | None:
    """The parameters of `call`; None for a callable in C without a signature."""
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
