def handler(event, context):
    name = event["http"]["params"]["name"]
    context.log.info("saying hello to %s", name)
    return {"hello": name}
