NAME = "my own forklight"
