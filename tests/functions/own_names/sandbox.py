NAME = "my own sandbox"
