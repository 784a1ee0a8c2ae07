"""What Forklight costs, measured beside the least that the same thing can cost. `docs/benchmarks.md` explains it."""
