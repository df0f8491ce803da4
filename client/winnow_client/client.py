"""The client of threads. That of coroutines is the same in async_client.py."""

import time
from collections.abc import Sequence
from types import TracebackType

import httpx

from winnow_client.answers import Filtered, Reranked, Scores
from winnow_client.attempts import Attempts
from winnow_client.bounded import BoundedTransport, bounded_by
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


class Client:
    """Asks one Winnow service; make one and share it between all threads.

    Connections are kept and used again. Close it, or use it in a `with`, when all is done.
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
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Connects at the first call.

        Args:
            url: of the service, such as `http://127.0.0.1:8000`.
            api_key: where the service asks for one.
            deadline_ms: of calls that name none.
            retries: at most so many of one call.
            retry_ratio: retries per call that all calls together may come to.
            retry_burst: retries that may come at once.
            transport: in place of `BoundedTransport()`, which takes TLS and pool settings. Over
                another one, the deadline bounds each read and not their sum.

        Raises:
            ValueError: one of these is no good.
        """
        self._service = Service(url, api_key, deadline_ms, retries)
        self._budget = RetryBudget(retry_ratio, retry_burst)
        self._http = httpx.Client(transport=transport or BoundedTransport())

    def score(
        self,
        query: str,
        product_ids: Sequence[str],
        *,
        model: str | None = None,
        key: str | None = None,
        deadline_ms: float | None = None,
        fallback: bool = False,
    ) -> Scores:
        """Calibrated probability that each product is relevant, aligned with the candidates.

        Args:
            query: what the shopper typed.
            product_ids: candidates [n].
            model: the service's default one where absent.
            key: what decides whether a canary version answers; the query where absent.
            deadline_ms: of the whole call.
            fallback: where the service is unavailable, answer without scores instead of raising.

        Raises:
            Unavailable: there are no scores now, and no fallback was asked for.
            Refused: the request is at fault.
        """
        question = score_question(query, product_ids, model)
        return self._ask(question, key, deadline_ms, fallback=fallback)

    def filter(
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
        """The products worth showing; where the service is unavailable, all of them.

        Args:
            query: what the shopper typed.
            product_ids: candidates [n].
            sort: mode of the result page, whose threshold applies.
            threshold: in place of the sort mode's, in [0, 1].
            min_keep: at least so many, the best-scored first.
            missing: what happens to products that the service doesn't know: kept where absent.
            sort_values: one per candidate, to order by; None last.
            order: of the sort values.
            model: the service's default one where absent.
            key: what decides whether a canary version answers; the query where absent.
            deadline_ms: of the whole call.
            fallback: False raises where the service is unavailable.

        Raises:
            Refused: the request is at fault.
            Unavailable: only with `fallback=False`.
        """
        question = filter_question(
            *(query, product_ids, sort, threshold, min_keep, missing, sort_values, order, model)
        )
        return self._ask(question, key, deadline_ms, fallback=fallback)

    def rerank(
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
        """Documents by relevance, the best first; the caller's order if the service is unavailable.

        Args:
            query: what the shopper typed.
            documents: texts, which the service encodes, or product ids.
            ids: they are product ids.
            top_n: only so many; all where absent.
            model: the service's default one where absent.
            key: what decides whether a canary version answers; the query where absent.
            deadline_ms: of the whole call.
            fallback: False raises where the service is unavailable.

        Raises:
            Refused: the request is at fault.
            Unavailable: only with `fallback=False`.
        """
        question = rerank_question(query, documents, top_n, model, ids=ids)
        return self._ask(question, key, deadline_ms, fallback=fallback)

    def close(self) -> None:
        """Closes all connections."""
        self._http.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _ask(
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
        try:
            with bounded_by(deadline):
                return question.answer(self._reply(question.path, headers, attempts))
        except Unavailable as error:
            if fallback:
                return question.instead(error)
            raise

    def _reply(self, path: str, headers: dict[str, str], attempts: Attempts) -> Reply:
        url = self._service.url + path
        while True:
            try:
                body, timeout_s = attempts.next()
                with translated(url, attempts.too_late()):
                    answer = self._http.post(url, content=body, headers=headers, timeout=timeout_s)
                return reply_of(answer)
            except Unavailable as error:
                pause_s = attempts.pause_s(error)
                if pause_s is None:
                    raise
            time.sleep(pause_s)
