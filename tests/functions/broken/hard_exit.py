import os

os.write(2, b"no LICENCE\n")
os._exit(7)
