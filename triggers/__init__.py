"""Triggers turn outside occurrences into events. Each imports `bus` and none of the others."""
