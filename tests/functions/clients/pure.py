"""A custom runtime that is built on another client than AWS's own."""

import logging

from fa_purity import Cmd, FrozenDict, Result, Unsafe
from fa_purity.json import JsonPrimitive, JsonUnfolder, JsonValue
from pure_lambda_ric import HandlerId, LambdaError, start_lambda_listener


def greet(event, context):
    if "fails" in event.raw:
        return Cmd.wrap_value(Result.failure(LambdaError.new("NoSuchOrder", "no such order", ("line 1",))))
    text = JsonUnfolder.dumps(event.raw)
    return Cmd.wrap_value(Result.success(FrozenDict({"echo": JsonValue.from_primitive(JsonPrimitive.from_str(text))})))


start_lambda_listener(logging.getLogger("pure"), lambda: FrozenDict({HandlerId("greet"): greet})).compute()
