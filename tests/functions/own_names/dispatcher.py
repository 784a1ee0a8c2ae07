NAME = "my own dispatcher"
