"""Imports without consequences."""
