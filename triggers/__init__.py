"""Triggers turn outside occurrences into events, and outcomes into what the outside expects.

- `http`: requests and responses
- `queue`: messages and settlements
- `timer`: scheduled times

Each imports `bus` and none of the others.
"""
