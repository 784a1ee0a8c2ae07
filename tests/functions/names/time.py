NAME = "never imported, in no program"
