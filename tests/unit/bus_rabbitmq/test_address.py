import pytest
from aio_pika.exceptions import AMQPConnectionError, InvalidFrameError, ProbableAuthenticationError

from bus.rabbitmq.address import address, refusal
from bus.store import StoreError, UnreachableError


def test_messages_name_the_broker_without_its_password() -> None:
    where = address("amqps://user:secret@mq.example/shop%2Fnorth?heartbeat=3")
    assert where.place == "RabbitMQ at mq.example:5671 (vhost shop/north)"
    assert where.url.password == "secret"
    assert where.url.query["heartbeat"] == "3"


def test_defaults_are_filled_in() -> None:
    where = address("amqp://mq.example")
    assert where.place == "RabbitMQ at mq.example:5672 (vhost /)"
    assert where.url.query["heartbeat"] == "10"


@pytest.mark.parametrize("text", ["", "mq.example", "http://mq.example", "amqp://", "amqp://mq.example:port"])
def test_no_url_of_a_broker(text: str) -> None:
    with pytest.raises(StoreError, match="amqp://USER:PASSWORD@HOST"):
        address(text)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TimeoutError(), "no answer in time"),
        (AMQPConnectionError(111, "Connection refused"), "is RabbitMQ running"),
        (AMQPConnectionError("[Errno -2] Name or service not known"), "the name of the host is unknown"),
        (AMQPConnectionError("[SSL: CERTIFICATE_VERIFY_FAILED]"), "cafile"),
        (ProbableAuthenticationError("ACCESS_REFUSED\nsee the log"), "user or password"),
        (
            InvalidFrameError("Expected one of ['Connection.OpenOk'], got something"),
            "access to the virtual host; create it",
        ),
        (AMQPConnectionError("Server connection unexpectedly closed"), "AMQP port"),
        (RuntimeError("odd"), "odd"),
    ],
)
def test_a_refusal_is_one_line_that_says_what_to_do(error: Exception, said: str) -> None:
    text = str(refusal("RabbitMQ at mq.example:5672 (vhost /)", error))
    assert "mq.example" in text
    assert said in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("error", "is_absent"),
    [
        (TimeoutError(), True),
        (AMQPConnectionError(111, "Connection refused"), True),
        (AMQPConnectionError("[Errno -3] Temporary failure in name resolution"), True),
        (AMQPConnectionError("[Errno 104] Connection reset by peer"), True),
        (AMQPConnectionError("Server connection unexpectedly closed"), True),
        (StopAsyncIteration(), True),
        (ProbableAuthenticationError("ACCESS_REFUSED - Login was refused"), False),
        (AMQPConnectionError("[SSL: CERTIFICATE_VERIFY_FAILED]"), False),
        (InvalidFrameError("Expected one of ['Connection.OpenOk'], got something"), False),
    ],
)
def test_only_an_unreachable_broker_is_worth_waiting_for(error: Exception, is_absent: bool) -> None:
    assert isinstance(refusal("RabbitMQ", error), UnreachableError) == is_absent
