"""All exceptions of the package have one base."""

import importlib
import pkgutil

import sandbox
from sandbox.errors import SandboxError


def test_every_exception_of_the_sandbox_has_one_base() -> None:
    modules = [importlib.import_module(f"sandbox.{found.name}") for found in pkgutil.iter_modules(sandbox.__path__)]
    defined = {
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Exception) and value.__module__ == module.__name__
    }
    assert len(defined) > 5
    assert {kind.__name__ for kind in defined if not issubclass(kind, SandboxError)} == set()
