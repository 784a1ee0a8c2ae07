"""Loads a function: finds its handler and hooks by `module:attribute` in the user's code."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

from . import forked
from .imports import LoadError, did_you_mean, import_module, init_failed
from .loggers import never_disabled
from .peak import Peak
from .signature import Unusable, is_async, one_at_a_time, takes_context

__all__ = ["Function", "LoadError", "load"]

_MAX_LISTED = 10


class Function:
    """A loaded function, which instances call. `hooks` has those of init, after_fork and stop that are configured."""

    def __init__(
        self, *, name: str, version: str, call: Callable[..., Any], max_result: int, concurrency: int = 1
    ) -> None:
        self.name = name
        self.version = version
        self.call = call
        self.max_result = max_result
        """bytes, for the result and the outputs of an invocation together"""
        self.concurrency = concurrency
        """how many calls may be open at once"""
        self.takes_context = takes_context(call)
        self.is_async = is_async(call)
        self.hooks: dict[str, Callable[[], Any]] = {}
        self.logger = never_disabled(name)
        self.peak = Peak()

    def run_hook(self, name: str) -> None:
        """Run a hook, if the function has it. Raises LoadError (InitFailed), whatever the hook raises."""
        try:
            if name in self.hooks:
                with forked.Guard():
                    self.hooks[name]()
        except BaseException as error:  # user code may raise anything
            raise init_failed(f"the hook {name!r}", error) from None

    async def arun_hook(self, name: str) -> None:
        """Like `run_hook`, inside an event loop, where a hook may be `async def`."""
        try:
            if name in self.hooks:
                with forked.Guard():
                    result = self.hooks[name]()
                    if is_async(self.hooks[name]):
                        await result
        except BaseException as error:  # user code may raise anything
            raise init_failed(f"the hook {name!r}", error) from None


def load(
    *,
    name: str,
    version: str,
    handler: str,
    runtime: str,
    hooks: dict[str, str | None],
    max_result: int,
    concurrency: int = 1,
) -> Function:
    """Import the user's code and find the handler and the hooks in it.

    The code must be the working directory and on `sys.path`. Raises LoadError, whatever the code does.
    """
    what = f"the handler {handler!r}"
    call = _find(handler, what, runtime)
    function = made(call, what, name=name, version=version, max_result=max_result, concurrency=concurrency)
    for hook, target in hooks.items():
        if target is not None:
            function.hooks[hook] = _find_hook(hook, target, runtime, may_be_async=hook == "stop" and function.is_async)
    return function


def made(call: Any, what: str, *, name: str, version: str, max_result: int, concurrency: int) -> Function:
    """The function of this handler. Raises LoadError, which calls the handler `what`."""
    try:
        function = Function(name=name, version=version, call=call, max_result=max_result, concurrency=concurrency)
    except Unusable as error:
        raise LoadError("HandlerNotFound", f"{what} {error}") from None
    if concurrency > 1 and not function.is_async:
        raise LoadError("InitFailed", f"{what} {one_at_a_time(concurrency)}")
    return function


def _find_hook(hook: str, target: str, runtime: str, *, may_be_async: bool) -> Callable[[], Any]:
    what = f"the hook {hook} = {target!r}"
    found = _find(target, what, runtime)
    if not callable(found):
        raise LoadError("HandlerNotFound", f"{what} is not callable, it is an object of type {type(found).__name__}")
    if is_async(found) and not may_be_async:
        raise LoadError("HandlerNotFound", f"{what} must be `def`: only the stop hook of an async handler may be async")
    call: Callable[[], Any] = found
    return call


def _find(target: str, what: str, runtime: str) -> Any:
    """The object that `module:attribute` names; both sides may be dotted."""
    module_name, _, attribute = target.partition(":")
    if not all(part and part == part.strip() for part in (*module_name.split("."), *attribute.split("."))):
        raise LoadError("HandlerNotFound", f"{what} is not of the form module:attribute")
    module = import_module(module_name, runtime)
    found: Any = module
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise LoadError("HandlerNotFound", f"{what} does not exist: {_alternatives(module, attribute)}") from None
        except BaseException as error:  # a module's __getattr__ is user code
            raise init_failed(f"looking up {what}", error) from None
    return found


def _alternatives(module: ModuleType, attribute: str) -> str:
    """The functions that the module itself defines, for the error message."""
    names = [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and callable(value)
        and not isinstance(value, type)
        and getattr(value, "__module__", module.__name__) == module.__name__
    ]
    more = ", ..." if len(names) > _MAX_LISTED else ""
    listed = ", ".join(names[:_MAX_LISTED]) + more if names else "no functions"
    return f"module {module.__name__!r} has {listed}{did_you_mean(attribute, names)}"
