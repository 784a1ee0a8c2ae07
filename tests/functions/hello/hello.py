def handler(event, context):
    context.log.info("greeting %s", event["data"])
    return {"hello": event["data"]["name"], "attempt": context.attempt}


async def ahandler(event):
    return {"hello": event["data"]["name"]}
