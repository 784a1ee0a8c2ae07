"""A RabbitMQ store that cannot start says why in one line, and one over TLS checks the certificate."""

import asyncio
import socket
import ssl
import subprocess
from pathlib import Path

import pytest

from bus.rabbitmq import open_rabbitmq
from bus.store import StoreError
from tests.kit.broker import Node
from tests.kit.proxy import proxy_to
from tests.kit.stores import drain, fill, fresh, ids


async def refusal(url: str) -> str:
    with pytest.raises(StoreError) as raised:
        await open_rabbitmq(url).__aenter__()
    assert "\n" not in str(raised.value)
    assert "secret" not in str(raised.value)
    return str(raised.value)


async def test_nothing_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        assert f"127.0.0.1:{port} (vhost /): nothing listens" in await refusal(f"amqp://guest:secret@127.0.0.1:{port}/")


async def test_the_listener_is_not_a_broker() -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert "amqp" in await refusal(f"amqp://guest:secret@127.0.0.1:{port}/")


async def test_a_wrong_password(rabbitmq: Node) -> None:
    assert "user or password" in await refusal(f"amqp://guest:secret@127.0.0.1:{rabbitmq.port}/")


async def test_no_such_virtual_host(rabbitmq: Node) -> None:
    assert "denies access to the virtual host; create it" in await refusal(rabbitmq.url("nowhere"))


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Make a self-signed certificate of the host `localhost`, with its key in the same file."""
    file = tmp_path / "localhost.pem"
    subprocess.run(
        (
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost", "-keyout", str(file), "-out", str(tmp_path / "c.pem")),
        ),
        check=True,
        capture_output=True,
    )
    file.write_bytes(file.read_bytes() + (tmp_path / "c.pem").read_bytes())
    return file


async def test_tls_needs_a_valid_certificate(rabbitmq: Node, certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    queue, plain = fresh(), rabbitmq.fresh_url()
    async with proxy_to(rabbitmq.port, context) as proxy:
        url = plain.replace("amqp://", "amqps://").replace(f"127.0.0.1:{rabbitmq.port}", f"localhost:{proxy.port}")
        assert "cafile" in await refusal(url)
        assert "cafile" in await refusal(url.replace("localhost", "127.0.0.1") + f"?cafile={certificate}")
        async with open_rabbitmq(f"{url}?cafile={certificate}") as store:
            sent = await fill(store, queue, 1)
            assert ids(await drain(store, queue, 1)) == sent
