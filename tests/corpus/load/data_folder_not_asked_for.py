import os

DATABASE = os.path.join(os.environ["FORKLIGHT_DATA"], "shop.db")
