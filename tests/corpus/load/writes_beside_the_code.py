open("cache.txt", "w")
