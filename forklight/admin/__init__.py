"""The admin API: health, readiness and metrics, also over TCP; everything else over the control socket alone.

- `server.py`: the routes, on both; `answers.py`: what an answer looks like
- `acting.py`: `invoke` and `send`
- `letters.py`: dead letters over the API; `dead_letter_queues.py`, `dead_letters.py`: their queues; what one is
- `backup.py`, `why.py`: a copy of the store; what is remembered of one invocation
- `client.py`: the other end of the control socket, for commands
"""
