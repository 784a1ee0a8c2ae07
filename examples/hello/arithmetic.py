def add_up(event):
    """Add up the numbers of a JSON body such as [1, 2, 3]."""
    return {"sum": sum(event["data"])}
