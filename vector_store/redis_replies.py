"""MGETs over a connection of redis-py, which connects, logs in and sends; C reads the replies."""

import socket
from typing import Final, cast

import redis
from redis.connection import ConnectionInterface, ConnectionPool, DefaultParser

from vector_store.native_rows import MalformedReply, MgetReader

# MGETs under way: while the rows of one are copied, Redis looks up those of the next. Bounded, so
# that Redis never has all the rows of a large request waiting for this connection.
WINDOW: Final = 4


def exchange(
    pool: ConnectionPool, commands: memoryview, ends: list[int], reader: MgetReader
) -> None:
    """Sends the MGETs, command i ending at ends[i], and reads their replies.

    Raises:
        RedisError: as redis-py raises them; the connection is dropped then.
    """
    connection = pool.get_connection()
    try:
        sent = 0
        for group in range(len(ends)):
            until = ends[min(group + WINDOW, len(ends)) - 1]
            if sent < until:
                connection.send_packed_command([commands[sent:until]])  # type: ignore[no-untyped-call]
                sent = until
            receive(connection, reader, group + 1)
        raise_first_error(reader)
    except BaseException:
        connection.disconnect()  # type: ignore[no-untyped-call]
        raise
    finally:
        pool.release(connection)


def receive(connection: ConnectionInterface, reader: MgetReader, through: int) -> None:
    """Reads until `through` replies have been read; what goes wrong is raised as by redis-py.

    The connection must be dropped after an error.
    """
    # redis-py has no public way to its socket. Nothing of ours is in its own buffer: it reads only
    # when it is asked for a reply, and the pool hands out no connection that has one waiting.
    connected = cast(socket.socket | None, getattr(connection, "_sock", None))
    if connected is None:
        raise redis.ConnectionError("Connection closed by server.")
    try:
        reader.receive(connected, through)
    except TimeoutError as error:
        raise redis.TimeoutError("Timeout reading from socket") from error
    except OSError as error:
        raise redis.ConnectionError(f"Error while reading from socket: {error}") from error
    except MalformedReply as error:
        raise redis.InvalidResponse(str(error)) from error


def raise_first_error(reader: MgetReader) -> None:
    """Raises the first error reply that has been read, if there is one."""
    for _, text in reader.errors:
        raise reply_error(text)


def reply_error(text: str) -> Exception:
    """The exception that redis-py has for an error reply."""
    return cast(Exception, DefaultParser.parse_error(text))  # type: ignore[no-untyped-call]
