import os

print("looking for the database", flush=True)
address = os.environ["DATABASE_URL"]
