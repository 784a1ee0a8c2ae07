"""Prints as it is imported."""

print("printed at the import")
