"""BentoML: one service class; a synchronous API runs in a worker's thread (one by default).

https://docs.bentoml.com/en/latest/guides/services.html
https://docs.bentoml.com/en/latest/build-with-bentoml/parallelize-requests.html
"""

import os

import bentoml

from loadtest.peers.job import job_from_environment


@bentoml.service(
    workers=int(os.environ["PEER_WORKERS"]),
    logging={"access": {"enabled": False}},
)
class Relevance:
    def __init__(self) -> None:
        self.job = job_from_environment()

    @bentoml.api(route="/score")
    def score(self, query: str, product_ids: list[str]) -> dict[str, list[float]]:
        return {"scores": self.job.scores(query, product_ids).tolist()}
