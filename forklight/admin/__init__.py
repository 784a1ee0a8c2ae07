"""The admin API: health, readiness and metrics, also over TCP; deploys over TCP with a deploy key; everything else over
the control socket alone.

- `server.py`: the routes of both; `answers.py`: the forms of an answer
- `guard.py`: who may do what over TCP; `tls.py`: its certificate
- `acting.py`: `invoke` and `send`
- `letters.py`: dead letters over the API; `dead_letter_queues.py`: their queues; `dead_letters.py`: a single one
- `backup.py`: a copy of the store; `why.py`: one invocation explained
- `applications.py`: what is deployed, and what changes it; `packages.py`: uploads and downloads
- `client.py`: the other end of the control socket, for commands
"""
