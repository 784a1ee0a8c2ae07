"""The same two answers as functions."""

from typing import Any


def hello(_event: dict[str, Any]) -> dict[str, str]:
    return {"hello": "world"}


def upload(event: dict[str, Any]) -> dict[str, int]:
    return {"length": len(event["body"])}
