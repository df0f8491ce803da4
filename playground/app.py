"""The service with the playground in front: the page at `/`, and candidates for it.

`winnow serve` starts this application where a catalogue is named, else `service.app`: a service
without a playground does not import it. Scores come from the public endpoints, as callers get them.
"""

from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from playground.files import PageFile, page_files
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
    # The files are the same everywhere and tell nothing of a shop: a browser that asks for the
    # page has no key to show yet.
    return create_service(settings, router, frozenset(files))


def _sends(file: PageFile):  # noqa: ANN202 - FastAPI reads the handler's own annotations
    async def send(request: Request) -> Response:
        return file.answer(request)

    return send


def _add_questions(router: APIRouter, shelf: Shelf, settings: Settings) -> None:
    """What only the page asks; behind the API keys, where there are any."""
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
        found = shelf.candidates(query, count)
        products = [
            {
                "product_id": product.product_id,
                "title": product.title,
                "price": product.price,
                "sales": product.sales,
                "image": product.image,
                "grade": grade,
            }
            for product, grade in found
        ]
        return JSONResponse({"query": query, "products": products})


def _query(text: str, most: int) -> str:
    if not text.strip():
        raise InvalidField("query: expected what a shopper would type, got nothing")
    if len(text) > most:
        raise InvalidField(f"query: expected at most {most} characters, got {len(text)}")
    return text


def _count(text: str, most: int) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= most):
        raise InvalidField(f"count: expected a whole number from 1 to {most}, got {text[:20]!r}")
    return int(text)
