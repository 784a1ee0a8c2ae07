import requests_but_misspelt


def handler(event):
    return requests_but_misspelt.get("/")
