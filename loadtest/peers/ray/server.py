"""Ray Serve: one deployment, `num_replicas` processes behind the HTTP proxy.

https://docs.ray.io/en/latest/serve/key-concepts.html
https://docs.ray.io/en/latest/serve/configure-serve-deployment.html
FastAPI ingress runs a `def` method in a thread, so the replica's event loop is never blocked.
"""

import os
import signal

import ray
from fastapi import FastAPI
from pydantic import BaseModel
from ray import serve
from ray.serve.config import HTTPOptions

from loadtest.peers.job import job_from_environment

app = FastAPI()


class ScoreRequest(BaseModel):
    query: str
    product_ids: list[str]


@serve.deployment(
    num_replicas=int(os.environ["PEER_WORKERS"]),
    ray_actor_options={"num_cpus": 0.25},
    logging_config={"enable_access_log": False},
)
@serve.ingress(app)
class Relevance:
    def __init__(self) -> None:
        self.job = job_from_environment()

    @app.post("/score")
    def score(self, request: ScoreRequest) -> dict[str, list[float]]:
        return {"scores": self.job.scores(request.query, request.product_ids).tolist()}


if __name__ == "__main__":
    ray.init(include_dashboard=False, object_store_memory=200 * 2**20)
    serve.start(http_options=HTTPOptions(host="127.0.0.1", port=int(os.environ["PEER_PORT"])))
    serve.run(Relevance.bind())  # type: ignore[attr-defined] # made by the decorator
    signal.sigwait({signal.SIGINT, signal.SIGTERM})
    serve.shutdown()
    ray.shutdown()
