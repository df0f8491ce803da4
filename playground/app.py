"""The service with the playground beside it: the page at `/`, and candidates for it.

`winnow serve` starts this application where a catalogue is named, else `service.app`: a service
without a playground does not import it. Scores come from the public endpoints, as callers get them.
"""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from evaluation.judgments import query_key
from playground.files import PageFile, page_files
from playground.lexical import Lexical
from playground.products import image_origins
from playground.shelf import Shelf, read_shelf
from service.app import create_app as create_service
from service.errors import InvalidField
from service.settings import Settings, read_settings

MOST_EXAMPLES: Final = 1_000  # that the page is told of


def create_app(settings: Settings | None = None) -> ASGIApp:
    """The application of one worker process; settings come from the environment by default.

    Raises:
        SettingsError, ModelStoreError, StoreError, EvaluationError: it could not serve with these.
    """
    settings = settings or read_settings()
    shelf = read_shelf(settings)
    files = page_files(image_origins(shelf.products))
    router = APIRouter(include_in_schema=False)
    for path, file in files.items():
        router.add_api_route(path, _sends(file), methods=["GET", "HEAD"])
    _add_questions(router, shelf, settings)
    # The files are the same everywhere and tell nothing of a shop, and a browser that asks for the
    # page has no key to show yet.
    return create_service(settings, router, frozenset(files))


def _sends(file: PageFile) -> Callable[[Request], Awaitable[Response]]:
    async def send(request: Request) -> Response:
        return file.answer(request)

    return send


def _add_questions(router: APIRouter, shelf: Shelf, settings: Settings) -> None:
    """What only the page asks; behind the API keys, where there are any."""
    lexical = Lexical([product.title for product in shelf.products])
    most = settings.max_candidates

    @router.get("/playground/shop")
    def get_shop() -> Response:
        examples = shelf.examples[:MOST_EXAMPLES]
        return JSONResponse(
            {"products": len(shelf.products), "examples": examples, "most_candidates": most}
        )

    @router.get("/playground/candidates")
    def get_candidates(request: Request) -> Response:
        query = _query(request.query_params.get("query", ""), settings.max_query_chars)
        count = _count(request.query_params.get("count", ""), most)
        grades = shelf.grades.get(query_key(query), {})
        found = [shelf.products[position] for position in lexical.best(query, count)]
        products = [{**asdict(each), "grade": grades.get(each.product_id)} for each in found]
        return JSONResponse({"query": query, "products": products})


def _query(text: str, most: int) -> str:
    if not text.strip():
        raise InvalidField("query: expected what a shopper would type, got nothing")
    if len(text) > most:
        raise InvalidField(f"query: expected at most {most} characters, got {len(text)}")
    return text


def _count(text: str, most: int) -> int:
    # Ten digits are above any limit, and never so many that reading them takes long.
    count = int(text[:10]) if text.isascii() and text.isdigit() else 0
    if not 1 <= count <= most:
        raise InvalidField(f"count: expected a whole number from 1 to {most}, got {text[:20]!r}")
    return count
