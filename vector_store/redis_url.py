"""Reading a Redis URL: what connects, what may be shown, which namespace. Opens no connection."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

from vector_store.errors import StoreError
from vector_store.redis_login import PasswordFile

DEFAULT_NAMESPACE: Final = "winnow"
LOGIN: Final = ("username", "password")
SENTINEL_LOGIN: Final = ("sentinel_username", "sentinel_password")
TLS: Final = (
    "ssl_ca_certs",
    "ssl_ca_path",
    "ssl_cert_reqs",
    "ssl_certfile",
    "ssl_check_hostname",
    "ssl_keyfile",
)
PARAMETERS: Final = {
    "redis": ("db", "ns", "password_file"),
    "rediss": ("db", "ns", "password_file", *TLS),
    "unix": ("db", "ns", "password_file", *LOGIN),
    "redis+cluster": ("ns", "password_file"),
    "rediss+cluster": ("ns", "password_file", *TLS),
    "redis+sentinel": ("ns", "password_file", *SENTINEL_LOGIN),
    "rediss+sentinel": ("ns", "password_file", *SENTINEL_LOGIN, *TLS),
}
CLUSTER: Final = "+cluster"
SENTINEL: Final = "+sentinel"
DEFAULT_PORT: Final = 6379
SENTINEL_PORT: Final = 26379
HIDDEN: Final = ("password", "sentinel_password")


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """A Redis URL taken apart.

    connect: for redis-py, login included; never show it. Of a cluster: its first node; behind
        Sentinel: with a host that means nothing
    shown: the URL without passwords
    namespace: first part of every key
    nodes: (host, port) of the nodes of a cluster, or of the Sentinels, that were named; none where
        it is one server
    service: what the Sentinels call the master
    sentinel_login: username and password for the Sentinels, as redis-py names them; never show it
    login: where user and password come from, where the password lies in a file
    """

    connect: str
    shown: str
    namespace: str
    nodes: tuple[tuple[str, int], ...] = ()
    service: str = ""
    sentinel_login: tuple[tuple[str, str], ...] = ()
    login: PasswordFile | None = None

    @property
    def is_cluster(self) -> bool:
        """Whether rows lie on several masters."""
        return bool(self.nodes) and not self.service

    def __repr__(self) -> str:
        return f"RedisUrl({self.shown!r})"


def parse_redis_url(url: str) -> RedisUrl:
    """Take `redis://[user:password@]host:port/db?ns=...` apart; also rediss:// and unix://.

    A cluster is `redis+cluster://[user:password@]host:port[,host:port...]/?ns=...`, over TLS
    `rediss+cluster://...`: any of its nodes, one is enough while that node is up.
    Behind Sentinel it is `redis+sentinel://[user:password@]host:port[,host:port...]/service[/db]`,
    over TLS `rediss+sentinel://...`: places of Sentinels, the login of the servers; one for the
    Sentinels goes into `?sentinel_username=&sentinel_password=`.

    Raises:
        StoreError: the URL cannot be read, or has a parameter that is not known. Timeouts are no
            parameters: they are settings, so that there is one place for them.
    """
    parts = _split(url)
    parameters = dict(parse_qsl(parts.query, keep_blank_values=True))
    allowed = PARAMETERS[parts.scheme]
    for name in parameters:
        if name not in allowed:
            raise StoreError(
                f"expected the parameters {', '.join(allowed)} in a {parts.scheme}:// URL, "
                f"got {name!r}; remove it"
            )
    namespace = parameters.pop("ns", DEFAULT_NAMESPACE)
    shown = _without_password(parts)
    login, parts = _password_file(parts, parameters)
    if parts.scheme.endswith(SENTINEL):
        of_master = _behind_sentinel(parts, parameters, shown, namespace)
        return replace(of_master, login=login)
    database = parameters.get("db", "" if parts.scheme == "unix" else parts.path.strip("/"))
    if database and not database.isdecimal():
        raise StoreError(f"expected a database number in the Redis URL, got {database!r}")
    nodes: tuple[tuple[str, int], ...] = ()
    if parts.scheme.endswith(CLUSTER):
        if int(database or 0):
            raise StoreError(f"expected no database number (a cluster has none), got {database}")
        user, at, places = parts.netloc.rpartition("@")
        nodes = tuple(_place(place) for place in places.split(","))
        netloc = f"{user}{at}{places.partition(',')[0]}"
        parts = parts._replace(scheme=parts.scheme.removesuffix(CLUSTER), netloc=netloc, path="")
    connect = _joined(parts, parts.netloc, urlencode(parameters))
    return RedisUrl(connect, shown, namespace, nodes, login=login)


def _password_file(
    parts: SplitResult, parameters: dict[str, str]
) -> tuple[PasswordFile | None, SplitResult]:
    """The login of a URL whose password lies in a file, and the URL without one."""
    path = parameters.pop("password_file", None)
    if path is None:
        return None, parts
    user, _, place = parts.netloc.rpartition("@")
    if ":" in user or "password" in parameters:
        raise StoreError("expected a password in the Redis URL or password_file, got both")
    name = parameters.pop("username", unquote(user))
    login = PasswordFile(name, Path(path))
    login.read()
    return login, parts._replace(netloc=place)


def _behind_sentinel(
    parts: SplitResult, parameters: dict[str, str], shown: str, namespace: str
) -> RedisUrl:
    service, _, database = parts.path.strip("/").partition("/")
    if not service or (database and not database.isdecimal()):
        raise StoreError(
            "expected the service that the Sentinels watch, and then perhaps a database number, "
            f"as in redis+sentinel://host:port,host:port/SERVICE/0, got {parts.path!r}"
        )
    login, at, places = parts.netloc.rpartition("@")
    sentinel_login = tuple(
        (name.removeprefix("sentinel_"), parameters.pop(name))
        for name in SENTINEL_LOGIN
        if name in parameters
    )
    server = parts._replace(scheme=parts.scheme.removesuffix(SENTINEL), path=f"/{database or 0}")
    return RedisUrl(
        _joined(server, f"{login}{at}sentinel", urlencode(parameters)),
        shown,
        namespace,
        tuple(_place(place, SENTINEL_PORT) for place in places.split(",")),
        service,
        sentinel_login,
    )


def _split(url: str) -> SplitResult:
    # What comes may be a piece of the password, so neither it nor the parser's reason is shown.
    unreadable = StoreError(
        "cannot read the Redis URL; expected redis://[user:password@]host:port/db, with special "
        "characters of the password percent-encoded (@ is %40, / is %2F, ? is %3F, # is %23)"
    )
    try:
        parts = urlsplit(url)
        if parts.scheme.endswith((CLUSTER, SENTINEL)):
            for place in parts.netloc.rpartition("@")[2].split(","):
                _place(place)
        else:
            _ = parts.port  # read to have it checked
    except ValueError:
        raise unreadable from None
    if parts.fragment or (parts.scheme != "unix" and "@" in parts.path + parts.query):
        raise unreadable
    if parts.scheme == "unix" and not parts.path:
        raise StoreError("expected unix:///path/to/redis.sock, got a URL without a path")
    return parts


def _place(text: str, default_port: int = DEFAULT_PORT) -> tuple[str, int]:
    """Host and port of one node; ValueError where there is no host or the port is none."""
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError(text)
    return parts.hostname, parts.port or default_port


def _without_password(parts: SplitResult) -> str:
    login, at, place = parts.netloc.rpartition("@")
    user = login.partition(":")[0]
    netloc = f"{user}:***{at}{place}" if ":" in login else parts.netloc
    query = urlencode(
        [
            (name, "***" if name in HIDDEN else value)
            for name, value in parse_qsl(parts.query, keep_blank_values=True)
        ],
        safe="*",
    )
    return _joined(parts, netloc, query)


def _joined(parts: SplitResult, netloc: str, query: str) -> str:
    # geturl() would drop the two slashes of unix:///path, which redis-py insists on.
    return f"{parts.scheme}://{netloc}{parts.path}{'?' if query else ''}{query}"
