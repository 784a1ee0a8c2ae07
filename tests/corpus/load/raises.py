import os

TOKEN = os.environ["API_TOKEN"]


def handler(event): ...
