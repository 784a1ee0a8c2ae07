"""Who may ask: `keys.py`, `cors.py` (pages of other origins) and `proxies.py` (who stands behind a proxy)."""
