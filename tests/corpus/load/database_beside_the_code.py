import sqlite3

database = sqlite3.connect("shop.db")
