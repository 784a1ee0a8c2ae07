"""Cannot load, until a test writes something better."""

raise RuntimeError("not yet")
