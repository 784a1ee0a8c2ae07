"""The face of Forklight and its composition root: command line, configuration, code snapshots."""
