"""What every rerank shape comes to: a query, its candidates, and how they are answered."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request

from model_store.calibration import log_odds
from service.answering import Candidates
from service.bodies import check_query, refusal
from service.coverage import CORRUPT_ROW, DEADLINE, MISSING_PRODUCT
from service.errors import DeadlineExceeded, MalformedJson, TooLarge
from service.schemas import CandidatesRequest
from service.scoring import Scored
from service.settings import Settings
from service.texts import Texts
from vector_store.ids import ProductIds

DeadlineMs = Annotated[float, Field(gt=0, le=60_000)] | None


class RerankOptions(BaseModel):
    """The query string of a rerank request."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    documents: Literal["texts", "ids"] = Field(
        "texts", description="what `documents` or `texts` hold: texts, or product ids"
    )
    format: Literal["opensearch"] | None = Field(
        None,
        description="every index, in the order of the request, each with a score: for engines that "
        "fill an array by index",
    )
    missing_score: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="with format=opensearch: the score of a product that has no row"
    )

    @property
    def every_index(self) -> bool:
        """Whether the answer has an entry for every candidate."""
        return self.format == "opensearch"


@dataclass(frozen=True, slots=True)
class Rerank:
    """A decoded request.

    asked: its query, model and deadline
    candidates: as they are scored, n of them
    top_n: most results of the answer; None = all
    raw: scores are answered as log-odds, of which sigmoid makes the calibrated ones
    """

    asked: CandidatesRequest
    candidates: Candidates
    top_n: int | None
    raw: bool

    @classmethod
    def of(
        cls,
        options: RerankOptions,
        strings: Sequence[str],
        *,
        query: str,
        model: str | None,
        deadline_ms: float | None,
        top_n: int | None,
        raw: bool,
    ) -> "Rerank":
        """`strings`: the n documents, which are texts or ids as the options say."""
        asked = CandidatesRequest(query=query, product_ids=[], model=model, deadline_ms=deadline_ms)
        if options.documents == "ids":
            return cls(asked, ProductIds.from_strings(strings), top_n, raw)
        return cls(asked, Texts.of(strings), top_n, raw)


def read_options(request: Request) -> RerankOptions:
    """The query string.

    Raises:
        InvalidField: a parameter is unknown, repeated or wrong.
    """
    values: dict[str, object] = {}
    for name, value in request.query_params.multi_items():
        values[name] = [values[name], value] if name in values else value
    try:
        return RerankOptions.model_validate(values)
    except ValidationError as error:
        raise refusal(error) from error


def json_object(body: bytes) -> dict[str, object]:
    """A body that is a JSON object.

    Raises:
        MalformedJson: it is anything else.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedJson(f"expected a JSON object: {error}") from error
    if not isinstance(document, dict):
        raise MalformedJson(f"expected a JSON object, got {type(document).__name__}")
    return document


def check_limits(rerank: Rerank, settings: Settings) -> None:
    """Refuses what would take too long.

    Raises:
        TooLarge: too many candidates, or a text that is too long.
        InvalidField: the query is too long.
    """
    check_query(rerank.asked.query, settings.max_query_chars)
    n = len(rerank.candidates)
    if not isinstance(rerank.candidates, Texts):
        _check_count(n, "product ids", settings.max_candidates)
        return
    _check_count(n, "texts", settings.max_texts)
    longest = max(map(len, rerank.candidates.distinct), default=0)
    if longest > settings.max_text_chars:
        raise TooLarge(
            f"expected texts of at most {settings.max_text_chars} characters, got one of "
            f"{longest}: send the title, a student reads no more than its first words",
            {"limit": settings.max_text_chars, "characters": longest},
        )


def _check_count(n: int, what: str, limit: int) -> None:
    if n > limit:
        raise TooLarge(
            f"expected at most {limit} {what}, got {n}: split the request",
            {"limit": limit, "candidates": n},
        )


def check_whole(scored: Scored) -> None:
    """Half a ranking would be one by where documents stood in the list: it is whole, or fails.

    Raises:
        DeadlineExceeded: a candidate was not scored in time.
    """
    late = int((scored.codes == DEADLINE).sum())
    if late:
        raise DeadlineExceeded(
            f"expected every candidate within the deadline, {late} of {len(scored.codes)} were "
            "not scored: raise deadline_ms or send fewer"
        )


def ranking(
    scored: Scored, rerank: Rerank, options: RerankOptions
) -> tuple[list[int], NDArray[np.float32]]:
    """Indices of the answer's entries and their scores float32 [k], best first.

    Candidates without a row are left out; with every index they stay, all in their own order.
    """
    scores, known = scored.scores, ~np.isnan(scored.scores)
    if options.every_index:
        order = np.arange(len(scores))
        scores = np.where(known, scores, np.float32(options.missing_score))
    else:
        order = np.argsort(-scores, kind="stable")[: known.sum()][: rerank.top_n]  # NaN is last
    shown = log_odds(scores[order]).astype(np.float32) if rerank.raw else scores[order]
    return order.tolist(), shown


def without_row(scored: Scored) -> list[int]:
    """Indices of the candidates that have no good row."""
    codes = scored.codes
    return np.flatnonzero((codes == MISSING_PRODUCT) | (codes == CORRUPT_ROW)).tolist()
