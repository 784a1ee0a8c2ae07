NAME = "my own numpy"
