"""A TCP proxy on loopback between a client and a server, that can be cut in two ways."""

import asyncio
import contextlib
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from ssl import SSLContext


class Proxy:
    """`port` leads to the server until it is cut."""

    def __init__(self, target_port: int) -> None:
        self.port = 0
        self.connections = 0
        """How many clients have come so far."""
        self._target_port = target_port
        self._writers: set[StreamWriter] = set()
        self._passes = asyncio.Event()
        self._passes.set()
        self._refuses = False

    def cut(self) -> None:
        """Reset every connection, and refuse new ones until `mend`."""
        self._refuses = True
        for writer in self._writers:
            writer.transport.abort()

    def freeze(self) -> None:
        """Keep every connection open and let nothing through, as when packets are dropped, until `mend`."""
        self._passes.clear()

    def mend(self) -> None:
        """Let everything through again."""
        self._refuses = False
        self._passes.set()

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """One connection, both ways, until one side ends."""
        if self._refuses:
            writer.transport.abort()
            return
        self.connections += 1
        self._writers.add(writer)
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
            self._writers.add(far_writer)
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._copy(reader, far_writer))
                    both.create_task(self._copy(far_reader, writer))
            finally:
                self._writers.discard(far_writer)
                far_writer.transport.abort()
        except* OSError:
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _copy(self, reader: StreamReader, writer: StreamWriter) -> None:
        while data := await reader.read(65536):
            await self._passes.wait()
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError("one side ended: so does the other")


@contextlib.asynccontextmanager
async def proxy_to(port: int, context: SSLContext | None = None) -> AsyncIterator[Proxy]:
    """A proxy to the server that listens on `port`; with a context it speaks TLS with its clients."""
    proxy = Proxy(port)
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.create_task(proxy.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
