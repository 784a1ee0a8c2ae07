import acme_payments


def handler(event): ...
