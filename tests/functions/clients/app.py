"""A function as it runs on AWS Lambda: nothing in it is ours. AWS's own client runs it."""

import json
import os


def handler(event, context):
    print("for", context.aws_request_id)
    if event.get("fails"):
        raise KeyError("no such order")
    if "Records" in event:
        bad = [one["messageId"] for one in event["Records"] if json.loads(one["body"]).get("bad")]
        return {"batchItemFailures": [{"itemIdentifier": one} for one in bad]}
    if event.get("version") == "2.0":
        greeting = {"hello": event["pathParameters"]["name"], "said": json.loads(event["body"]), "by": os.environ["BY"]}
        headers = {"Content-Type": "application/json", "X-Arn": context.invoked_function_arn}
        return {"statusCode": 201, "headers": headers, "body": json.dumps(greeting), "cookies": ["a=1"]}
    return {
        "event": event,
        "function": context.function_name,
        "memory": context.memory_limit_in_mb,
        "has_time": 0 < context.get_remaining_time_in_millis() <= 60_000,
    }
