"""Plain FastAPI, twice: `/score` as lean as it gets, `/items` with one response item per candidate.

Blocking work stands in a `def` handler, which FastAPI runs in its thread pool:
https://fastapi.tiangolo.com/async/#path-operation-functions
Workers and address are uvicorn's: https://fastapi.tiangolo.com/deployment/server-workers/
"""

import orjson
from fastapi import FastAPI, Response
from pydantic import BaseModel

from loadtest.peers.job import job_from_environment

JOB = job_from_environment()
app = FastAPI()


class ScoreRequest(BaseModel):
    query: str
    product_ids: list[str]


class Item(BaseModel):
    product_id: str
    score: float


class ScoredItems(BaseModel):
    items: list[Item]


@app.post("/score")
def score(request: ScoreRequest) -> Response:
    """One array, encoded by orjson."""
    scores = JOB.scores(request.query, request.product_ids)
    body = orjson.dumps({"scores": scores}, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, media_type="application/json")


@app.post("/items")
def items(request: ScoreRequest) -> ScoredItems:
    """A response model, as in FastAPI's tutorial."""
    scores = JOB.scores(request.query, request.product_ids).tolist()
    pairs = zip(request.product_ids, scores, strict=True)
    return ScoredItems(items=[Item(product_id=one, score=score) for one, score in pairs])
