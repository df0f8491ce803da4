"""`winnow models activate|rollback|canary|shadow`: what running services serve, without a restart.

Through the admin port of one service, which answers when all its workers have the change; or else
through the registry, which every service follows that reads it.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.completion import student_versions
from cli.console import answer, say
from cli.options import Bundles, Json, Student, Version
from model_store.registry import DEFAULT_ROOT
from model_store.rollout import BesideRole, Rollout, Share

OptionalVersion = Annotated[
    str | None, typer.Argument(help="published version", autocompletion=student_versions)
]
Store = Annotated[
    str | None,
    typer.Option(envvar="WINNOW_STORE", help="store that must hold the version's vector set"),
]
AdminPort = Annotated[
    int | None,
    typer.Option(envvar="WINNOW_ADMIN_PORT", help="ask this service; else write the registry"),
]
AdminHost = Annotated[str, typer.Option(envvar="WINNOW_ADMIN_HOST", help="where it listens")]
AdminToken = Annotated[
    Path | None, typer.Option(envvar="WINNOW_ADMIN_TOKEN_FILE", help="file with its token")
]
ShareOption = Annotated[float, typer.Option(min=0.0, max=1.0, help="of the requests, above 0")]
Off = Annotated[bool, typer.Option("--off", help="end it")]
_TIMEOUT_S = 3700.0  # the service gives up before: WINNOW_ACTIVATION_TIMEOUT_S


class ServiceRefused(Exception):
    """The service did not make the change; the text is what it says."""


def activate(
    name: Student,
    version: Version,
    store: Store = None,
    bundles: Bundles = DEFAULT_ROOT,
    admin_port: AdminPort = None,
    admin_host: AdminHost = "127.0.0.1",
    admin_token_file: AdminToken = None,
    as_json: Json = False,
) -> None:
    """Make a version the active one; refused where it is not whole or its vector set not there."""
    if admin_port is not None:
        admin = Admin(admin_host, admin_port, admin_token_file)
        _done(admin.change("POST", f"{name}/activate", {"version": version}), as_json)
        return
    _write_active(name, version, store, bundles, as_json)


def rollback(
    name: Student,
    store: Store = None,
    bundles: Bundles = DEFAULT_ROOT,
    admin_port: AdminPort = None,
    admin_host: AdminHost = "127.0.0.1",
    admin_token_file: AdminToken = None,
    as_json: Json = False,
) -> None:
    """Make the version that was active before the active one again."""
    from model_store.registry import rollback_target

    if admin_port is not None:
        admin = Admin(admin_host, admin_port, admin_token_file)
        _done(admin.change("POST", f"{name}/rollback", None), as_json)
        return
    _write_active(name, rollback_target(bundles, name), store, bundles, as_json)


def canary(
    name: Student,
    version: OptionalVersion = None,
    share: ShareOption = 0.05,
    off: Off = False,
    store: Store = None,
    bundles: Bundles = DEFAULT_ROOT,
    admin_port: AdminPort = None,
    admin_host: AdminHost = "127.0.0.1",
    admin_token_file: AdminToken = None,
    as_json: Json = False,
) -> None:
    """Answer a share of the requests with a second version: always those with the same keys.

    The key is the header X-Winnow-Key, else the query.
    """
    admin = None if admin_port is None else Admin(admin_host, admin_port, admin_token_file)
    _beside(admin, name, "canary", _share(version, share, off), store, bundles, as_json)


def shadow(
    name: Student,
    version: OptionalVersion = None,
    share: ShareOption = 1.0,
    off: Off = False,
    store: Store = None,
    bundles: Bundles = DEFAULT_ROOT,
    admin_port: AdminPort = None,
    admin_host: AdminHost = "127.0.0.1",
    admin_token_file: AdminToken = None,
    as_json: Json = False,
) -> None:
    """Score a share of the answered requests with a second version too, for the metrics alone."""
    admin = None if admin_port is None else Admin(admin_host, admin_port, admin_token_file)
    _beside(admin, name, "shadow", _share(version, share, off), store, bundles, as_json)


class Admin:
    """The admin port of one service."""

    def __init__(self, host: str, port: int, token_file: Path | None) -> None:
        """Reads the token.

        Raises:
            ServiceRefused: there is none.
        """
        try:
            token = "" if token_file is None else token_file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ServiceRefused(f"{token_file}: can't be read: {error}") from error
        if not token:
            raise ServiceRefused("expected --admin-token-file, the token of the admin port")
        self._url = f"http://{host}:{port}/v1/models"
        self._headers = {"Authorization": f"Bearer {token}"}

    def change(self, method: str, path: str, body: dict[str, Any] | None) -> Rollout:
        """What is served of the model after the change.

        Raises:
            ServiceRefused: nothing has changed.
        """
        import httpx

        try:
            response = httpx.request(
                method, f"{self._url}/{path}", json=body, headers=self._headers, timeout=_TIMEOUT_S
            )
        except httpx.HTTPError as error:
            raise ServiceRefused(f"{self._url}: no answer: {error}") from error
        document: dict[str, Any] = response.json()
        if response.status_code != 200:
            raise ServiceRefused(str(document["detail"]))
        say(f"{document.pop('model')}: all workers serve it")
        return Rollout.model_validate(document)


def _share(version: str | None, share: float, off: bool) -> Share | None:
    if off == (version is not None):
        raise typer.BadParameter("expected either a VERSION or --off")
    if version is not None and not share:
        raise typer.BadParameter("--share: expected more than 0; to end it, say --off")
    return None if version is None else Share(version=version, share=share)


def _beside(
    admin: Admin | None,
    name: str,
    role: BesideRole,
    share: Share | None,
    store: str | None,
    bundles: Path,
    as_json: bool,
) -> None:
    from model_store.rollout import read_rollout, set_beside

    if admin is not None:
        method, body = ("DELETE", None) if share is None else ("PUT", share.model_dump())
        _done(admin.change(method, f"{name}/{role}", body), as_json)
        return
    if share is not None:
        if share.version == read_rollout(bundles, name).version:
            raise ServiceRefused(f"{name}: {share.version} is the active version already")
        _require_vectors(bundles, name, share.version, store)
    set_beside(bundles, name, role, share)
    what = "none" if share is None else f"{share.version}, {share.share:.4g} of the requests"
    say(f"{name}: {role} is {what}; running services follow: GET /v1/models")
    _done(read_rollout(bundles, name), as_json)


def _write_active(name: str, version: str, store: str | None, bundles: Path, as_json: bool) -> None:
    from model_store.rollout import make_active, read_rollout

    _require_vectors(bundles, name, version, store)
    make_active(bundles, name, version)
    say(f"{name}: version {version} is active; running services follow: GET /v1/models")
    _done(read_rollout(bundles, name), as_json)


def _done(rollout: Rollout, as_json: bool) -> None:
    if as_json:
        answer(rollout.model_dump())


def _require_vectors(bundles: Path, name: str, version: str, store_url: str | None) -> None:
    """Loads and verifies the version, and looks for its sealed, live vector set."""
    from model_store.registry import bundle_folder
    from model_store.student import OnnxStudent
    from vector_store.live import live_header
    from vector_store.open import open_store

    if store_url is None:
        raise typer.BadParameter("expected --store, the store with the version's vector set")
    manifest = OnnxStudent.load(bundle_folder(bundles, name, version)).manifest
    store = open_store(store_url, read_only=True)
    try:
        header = live_header(store, manifest.vector_fingerprint, manifest.d_p)
    finally:
        store.close()
    say(f"{name} {version}: vector set {header.set_id} with {header.count} products")
