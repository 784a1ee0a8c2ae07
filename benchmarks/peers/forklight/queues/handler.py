from latency import note


def handle(event, context):
    note(event["data"])
