"""The commands, a file each, and what they share.

- `asking.py`: how a command finds its server and reports that it refused
- `tables.py`, `rows.py`: functions, queues and timers as tables; `screen.py`, `rates.py`: `top`
- `explaining.py`: the words of `why`
- `unit_files.py`: the units that `systemd` writes
- `body_option.py`: `-d` and `-f`
"""
