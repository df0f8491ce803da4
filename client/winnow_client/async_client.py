"""The client of coroutines, for asyncio: `Client` with `await` in front of its calls."""

import asyncio
from collections.abc import Sequence
from types import TracebackType

import httpx

from winnow_client.answers import Filtered, Reranked, Scores
from winnow_client.attempts import Attempts
from winnow_client.bounded import CONNECTIONS, KEEPALIVE_S
from winnow_client.budget import RetryBudget
from winnow_client.errors import Unavailable
from winnow_client.questions import (
    Answer,
    Missing,
    Order,
    Question,
    Reply,
    SortMode,
    filter_question,
    rerank_question,
    score_question,
)
from winnow_client.service import Service, reply_of, translated


class AsyncClient:
    """Asks one Winnow service; make one per event loop and share it between all tasks.

    Connections are kept and used again. Close it, or use it in an `async with`, when all is done.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        deadline_ms: float = 500.0,
        retries: int = 2,
        retry_ratio: float = 0.1,
        retry_burst: float = 10.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """As `Client`; a call is cancelled at its deadline, whatever it is sent over.

        Raises:
            ValueError: one of these is no good.
        """
        self._service = Service(url, api_key, deadline_ms, retries)
        self._budget = RetryBudget(retry_ratio, retry_burst)
        self._http = httpx.AsyncClient(transport=transport or _transport())

    async def score(
        self,
        query: str,
        product_ids: Sequence[str],
        *,
        model: str | None = None,
        key: str | None = None,
        deadline_ms: float | None = None,
        fallback: bool = False,
    ) -> Scores:
        """As `Client.score`."""
        question = score_question(query, product_ids, model)
        return await self._ask(question, key, deadline_ms, fallback=fallback)

    async def filter(
        self,
        query: str,
        product_ids: Sequence[str],
        sort: SortMode,
        *,
        threshold: float | None = None,
        min_keep: int | None = None,
        missing: Missing | None = None,
        sort_values: Sequence[float | None] | None = None,
        order: Order = "asc",
        model: str | None = None,
        key: str | None = None,
        deadline_ms: float | None = None,
        fallback: bool = True,
    ) -> Filtered:
        """As `Client.filter`."""
        question = filter_question(
            *(query, product_ids, sort, threshold, min_keep, missing, sort_values, order, model)
        )
        return await self._ask(question, key, deadline_ms, fallback=fallback)

    async def rerank(
        self,
        query: str,
        documents: Sequence[str],
        *,
        ids: bool = False,
        top_n: int | None = None,
        model: str | None = None,
        key: str | None = None,
        deadline_ms: float | None = None,
        fallback: bool = True,
    ) -> Reranked:
        """As `Client.rerank`."""
        question = rerank_question(query, documents, top_n, model, ids=ids)
        return await self._ask(question, key, deadline_ms, fallback=fallback)

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._http.aclose()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _ask(
        self,
        question: Question[Answer],
        key: str | None,
        deadline_ms: float | None,
        *,
        fallback: bool,
    ) -> Answer:
        deadline = self._service.deadline(deadline_ms)
        headers = self._service.headers(question.accept, key)
        attempts = Attempts(question.head, deadline, self._service.retries, self._budget)
        replying = self._reply(question.path, headers, attempts)
        try:
            try:
                reply = await asyncio.wait_for(replying, deadline.left_s())
            except asyncio.TimeoutError as error:  # another class before Python 3.11
                raise attempts.too_late() from error
            return question.answer(reply)
        except Unavailable as error:
            if fallback:
                return question.instead(error)
            raise

    async def _reply(self, path: str, headers: dict[str, str], attempts: Attempts) -> Reply:
        url = self._service.url + path
        while True:
            try:
                body, timeout_s = attempts.next()
                with translated(url, attempts.too_late()):
                    answer = await self._http.post(
                        url, content=body, headers=headers, timeout=timeout_s
                    )
                return reply_of(answer)
            except Unavailable as error:
                pause_s = attempts.pause_s(error)
                if pause_s is None:
                    raise
            await asyncio.sleep(pause_s)


def _transport() -> httpx.AsyncBaseTransport:
    """With the pool of `BoundedTransport`."""
    limits = httpx.Limits(
        max_connections=CONNECTIONS,
        max_keepalive_connections=CONNECTIONS,
        keepalive_expiry=KEEPALIVE_S,
    )
    return httpx.AsyncHTTPTransport(limits=limits)
