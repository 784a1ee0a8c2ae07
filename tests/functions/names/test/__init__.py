"""Named like a package of the standard library."""

NAME = "the own tests"
