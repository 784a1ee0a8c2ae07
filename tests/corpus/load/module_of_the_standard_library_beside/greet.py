from email import X


def handler(event): ...
