"""The state directory.

- `directory.py`: where everything that Forklight writes lies, and the lock that gives it one owner
- `releases.py`: the releases of deployed applications, and the steps from one to the next
- `data.py`: the folder in it that functions write to
- `control_socket.py`: where its control socket is
- `users.py`: the user that functions run as when a server starts as root
"""
