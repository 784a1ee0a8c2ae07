"""Holds a socket open."""

import socket

ends = socket.socketpair()
