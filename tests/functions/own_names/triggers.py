NAME = "my own triggers"
