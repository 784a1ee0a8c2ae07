"""Decides which callables are handlers, which get the context, and which are awaited."""

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from sandbox.guest._forklight.signature import Unusable, is_async, takes_context


def one(event: Any) -> None: ...
def two(event: Any, context: Any) -> None: ...
def optional_context(event: Any, context: Any = None) -> None: ...
def optional_other(event: Any, retries: int = 3) -> None: ...
def catch_all(*args: Any, **kwargs: Any) -> None: ...
def event_and_rest(event: Any, *rest: Any) -> None: ...
def keyword_default(event: Any, *, retries: int = 3) -> None: ...
def both_optional(event: Any = None, context: Any = None) -> None: ...
def three(event: Any, context: Any, db: Any) -> None: ...
def positional_only(event: Any, context: Any, /) -> None: ...
def other_and_rest(event: Any, retries: int = 3, *rest: Any) -> None: ...


def plain_decorator(function: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def wrapping_decorator(function: Callable[..., Any]) -> Callable[..., Any]:
    return functools.wraps(function)(plain_decorator(function))


def adapting_decorator(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator whose wrapper has the parameters of a handler, whatever the function takes."""

    @functools.wraps(function)
    def wrapper(event: Any, context: Any) -> Any:
        return function(event["data"])

    return wrapper


def event_decorator(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(event: Any) -> Any:
        return function(event, None, "db")

    return wrapper


def resting_decorator(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(event: Any, *args: Any, **kwargs: Any) -> Any:
        return function(event, *args, **kwargs)

    return wrapper


def injecting_decorator(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any) -> Any:
        return function("db", *args)

    return wrapper


def async_decorator(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


class Decorated:
    @wrapping_decorator
    def one(self, event: Any) -> None: ...
    @wrapping_decorator
    def two(self, event: Any, context: Any) -> None: ...
    @adapting_decorator
    def adapted(self, event: Any) -> None: ...
    @wrapping_decorator
    def __call__(self, event: Any) -> None: ...


class Shop:
    def one(self, event: Any) -> None: ...
    def two(self, event: Any, context: Any) -> None: ...
    async def atwo(self, event: Any, context: Any) -> None: ...
    @staticmethod
    def static(event: Any) -> None: ...
    @classmethod
    def of_class(cls, event: Any, context: Any) -> None: ...


class Callable1:
    def __call__(self, event: Any) -> None: ...


class AsyncCallable:
    async def __call__(self, event: Any, context: Any) -> None: ...


async def aone(event: Any) -> None: ...


HANDLERS = [
    (one, False, False),
    (two, True, False),
    (optional_context, True, False),
    (optional_other, False, False),
    (catch_all, True, False),
    (event_and_rest, True, False),
    (keyword_default, False, False),
    (both_optional, True, False),
    (positional_only, True, False),
    (other_and_rest, False, False),
    (lambda event: None, False, False),
    (functools.partial(two, context=1), False, False),
    (functools.partial(lambda db, event, context: None, "db"), True, False),
    (functools.partial(aone), False, True),
    (functools.partial(functools.partial(AsyncCallable())), True, True),
    (plain_decorator(one), True, False),
    (wrapping_decorator(one), False, False),
    (wrapping_decorator(two), True, False),
    (functools.lru_cache(one), False, False),
    (functools.lru_cache(two), True, False),
    (adapting_decorator(one), True, False),
    (event_decorator(three), False, False),
    (event_decorator(two), False, False),
    (resting_decorator(one), False, False),
    (resting_decorator(two), True, False),
    (injecting_decorator(three), True, False),
    (async_decorator(one), False, True),
    (async_decorator(two), True, True),
    (wrapping_decorator(adapting_decorator(one)), True, False),
    (adapting_decorator(wrapping_decorator(one)), True, False),
    (wrapping_decorator(wrapping_decorator(event_decorator(two))), False, False),
    (wrapping_decorator(resting_decorator(one)), False, False),
    (functools.partial(wrapping_decorator(one)), False, False),
    (functools.partial(wrapping_decorator(three), "db"), True, False),
    (Decorated().one, False, False),
    (Decorated().two, True, False),
    (Decorated(), False, False),
    (Shop().one, False, False),
    (Shop().two, True, False),
    (Shop().atwo, True, True),
    (Shop.static, False, False),
    (Shop.of_class, True, False),
    (Callable1(), False, False),
    (AsyncCallable(), True, True),
    (aone, False, True),
    (len, False, False),
    (print, True, False),
    (max, True, False),
]


@pytest.mark.parametrize(("handler", "context", "awaited"), HANDLERS)
def test_how_a_handler_is_called(handler: Callable[..., Any], context: bool, awaited: bool) -> None:
    assert takes_context(handler) is context
    assert is_async(handler) is awaited


def generator(event: Any) -> Iterator[int]:
    yield 1


async def async_generator(event: Any) -> AsyncIterator[int]:
    yield 1


def none() -> None: ...
def needs_keyword(event: Any, *, db: Any) -> None: ...


def wsgi(environ: Any, start_response: Any) -> None: ...
async def asgi(scope: Any, receive: Any, send: Any) -> None: ...


class Wsgi:
    """A WSGI application as in Flask, Django, Bottle and Pyramid."""

    def __call__(self, environ: Any, start_response: Any) -> Any: ...


class Falcon:
    def __call__(self, env: Any, start_response: Any) -> Any: ...


class Asgi:
    """An ASGI application as in Starlette, FastAPI, Quart, Litestar and Django."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


class Asgi2:
    def __call__(self, scope: Any) -> Any: ...


NO_HANDLERS = [
    (wsgi, r"is a WSGI application, which this version does not support: name a function that takes \(event\)"),
    (wrapping_decorator(wsgi), "is a WSGI application"),
    (asgi, "is an ASGI application, which this version does not support"),
    (Wsgi(), f"is a WSGI application of type {__name__}.Wsgi, which"),
    (Falcon(), f"is a WSGI application of type {__name__}.Falcon, which"),
    (Asgi(), f"is an ASGI application of type {__name__}.Asgi, which"),
    (Asgi2(), f"is an ASGI application of type {__name__}.Asgi2, which"),
    (Wsgi().__call__, "is a WSGI application, which"),
    (functools.partial(wsgi), "is a WSGI application"),
    (5, "is not callable, it is an object of type int"),
    (Shop, "is a class"),
    (generator, "is a generator function"),
    (async_generator, "is a generator function"),
    (functools.partial(generator), "is a generator function"),
    (none, "takes no argument, but is called as"),
    (three, "needs 3 arguments, but is called as"),
    (needs_keyword, "needs the keyword 'db', but is called as"),
]


@pytest.mark.parametrize(("handler", "message"), NO_HANDLERS)
def test_what_is_no_handler(handler: Any, message: str) -> None:
    with pytest.raises(Unusable, match=message):
        takes_context(handler)
