"""The log that outlives the server: entries of the journal in two files of the state directory, which take turns.

The event loop only appends to a queue. A task hands the queue to a thread several times a second, and nothing waits for
it: if the disk is full or the folder cannot be written, the queue is kept up to its bound, then new entries are dropped
and counted, and serving goes on.

- `lines.py`: the format, and how it is read whatever a crash has left
- `files.py`: the two files; `keeper.py`: the queue in front of them
- `merge.py`: entries of the files and of the rings in one order; `history.py`: both as one, for `logs` and `why`
"""
