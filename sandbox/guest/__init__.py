"""The child half: runs in zygote, template and instance on the standard library of Python ≥ 3.10, nothing else."""
