"""LitServe: one API object, `workers_per_device` processes of it.

https://lightning.ai/docs/litserve/api-reference/litapi
https://lightning.ai/docs/litserve/api-reference/litserver
"""

import os
from typing import Any

import litserve as ls

from loadtest.peers.job import job_from_environment


class Relevance(ls.LitAPI):
    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe gives it
        self.job = job_from_environment()

    def decode_request(self, request: dict[str, Any]) -> tuple[str, list[str]]:
        return request["query"], request["product_ids"]

    def predict(self, x: tuple[str, list[str]]) -> list[float]:
        scores: list[float] = self.job.scores(*x).tolist()
        return scores

    def encode_response(self, output: list[float]) -> dict[str, list[float]]:
        return {"scores": output}


if __name__ == "__main__":
    server = ls.LitServer(
        Relevance(api_path="/score"),
        accelerator="cpu",
        workers_per_device=int(os.environ["PEER_WORKERS"]),
    )
    server.run(
        host="127.0.0.1",
        port=int(os.environ["PEER_PORT"]),
        generate_client_file=False,
        log_level="warning",
    )
