"""The port of gRPC, held by `winnow serve` for its workers; imports nothing of gRPC."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from service.settings import Settings, SettingsError


@contextmanager
def held_port(settings: Settings) -> Iterator[None]:
    """Binds the port, without listening, as long as the workers may.

    Each worker listens on it by itself (SO_REUSEPORT). One that found it taken would end, and be
    started again for ever.

    Raises:
        SettingsError: the extra `grpc` is not installed, or somebody else has the port.
    """
    if settings.grpc_port is None:
        yield
        return
    missing = [name for name in ("grpc", "open_inference", "google.protobuf") if not _there(name)]
    if missing:
        raise SettingsError(
            f"WINNOW_GRPC_PORT needs {missing[0]}, which is not installed: "
            "pip install 'winnow-relevance[grpc]', or unset it"
        )
    with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            held.bind((settings.host, settings.grpc_port))
        except OSError as error:
            raise SettingsError(
                f"WINNOW_GRPC_PORT: {settings.host}:{settings.grpc_port} can't be listened on: "
                f"{error.strerror}"
            ) from error
        yield


def _there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # its parent is not there
        return False
