"""A client of one Redis server: the one that is named, or the master that Sentinels name.

Sentinels are asked again for every new connection. After a failover the old master closes its
clients' connections (Sentinel sees to that) and the next ones lead to the new master. While the
Sentinels know of no master that is up, a call fails as with Redis down.
"""

from typing import Any, Final

import redis
from redis.connection import SSLConnection, parse_url
from redis.sentinel import Sentinel

from vector_store.redis_url import RedisUrl

_OF_THE_SERVER: Final = ("username", "password", "db")


def server_client(url: RedisUrl, options: dict[str, Any]) -> redis.Redis:
    """A client of the server, not of a cluster; connects when it is first used.

    Args:
        url: where, and the login.
        options: of redis-py: time-outs, retries.
    """
    if url.service:
        return _master_client(url, options)
    return redis.Redis.from_url(url.connect, credential_provider=url.login, **options)


def _master_client(url: RedisUrl, options: dict[str, Any]) -> redis.Redis:
    """A client of the master of `url.service`; connects when it is first used.

    Args:
        url: `connect` has the login, the database and TLS of the servers; Sentinels are spoken to
            over TLS too, with a login of their own.
        options: of redis-py, for servers and Sentinels: time-outs, retries.
    """
    of_url = parse_url(url.connect)  # type: ignore[no-untyped-call]
    tls = {"ssl": True} if of_url.pop("connection_class", None) is SSLConnection else {}
    tls |= {name: value for name, value in of_url.items() if name.startswith("ssl_")}
    login = {name: of_url[name] for name in _OF_THE_SERVER if name in of_url}
    if url.login is not None:
        login["credential_provider"] = url.login
    sentinels = Sentinel(  # type: ignore[no-untyped-call]
        url.nodes, sentinel_kwargs={**options, **tls, **dict(url.sentinel_login)}
    )
    client: redis.Redis = sentinels.master_for(url.service, **options, **tls, **login)  # type: ignore[no-untyped-call]
    return client
