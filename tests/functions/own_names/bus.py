NAME = "my own bus"
