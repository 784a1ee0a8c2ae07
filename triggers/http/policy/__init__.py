"""Who may ask: `keys.py`, `cors.py` (pages of other origins) and `proxies.py` (clients behind a proxy)."""
