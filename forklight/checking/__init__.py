"""What is found wrong before anybody meets it. Nothing here serves.

- `check.py`: what `forklight check` finds without running any code; `faults.py`: what is wrong with the code itself
- `diagnosis.py`: what `forklight doctor` finds; `packages.py`: whether the store of packages is in order
"""
