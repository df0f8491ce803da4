"""mosec: a worker class behind a Rust front, `num` processes of it.

https://mosecorg.github.io/mosec/_modules/mosec/worker.html
Answers without the indentation that mosec's default encoder adds: `serialize` is meant to be
overridden.
"""

import json
import os
from typing import Any

from mosec import Server, Worker

from loadtest.peers.job import job_from_environment


class Relevance(Worker):
    def __init__(self) -> None:
        super().__init__()
        self.job = job_from_environment()

    def forward(self, data: dict[str, Any]) -> dict[str, list[float]]:
        return {"scores": self.job.scores(data["query"], data["product_ids"]).tolist()}

    def serialize(self, data: dict[str, list[float]]) -> bytes:
        return json.dumps(data).encode()


if __name__ == "__main__":
    server = Server()
    server.append_worker(Relevance, num=int(os.environ["PEER_WORKERS"]), route="/score")
    server.run()
