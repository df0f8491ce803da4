"""PyTriton: NVIDIA's Triton server, with the job as its inference callable in this process.

https://triton-inference-server.github.io/pytriton/latest/binding_models
https://triton-inference-server.github.io/pytriton/latest/inference_callables/decorators
Not Triton's own ONNX Runtime backend, which isn't in the package. Batching is off: a candidate list
is one query's. Several callables are several instances, in threads of this process.
"""

import os

import numpy as np
from numpy.typing import NDArray
from pytriton.model_config import ModelConfig, Tensor
from pytriton.proxy.types import Request
from pytriton.triton import Triton, TritonConfig

from loadtest.peers.job import job_from_environment

JOB = job_from_environment()


class Instance:
    """One inference callable; PyTriton tells instances apart by identity."""

    def __call__(self, requests: list[Request]) -> list[dict[str, NDArray[np.float32]]]:
        return [{"scores": _scores(request)} for request in requests]


def _scores(request: Request) -> NDArray[np.float32]:
    query: bytes = request["query"][0]
    ids: list[bytes] = request["product_ids"].tolist()
    return JOB.scores(query.decode(), [one.decode() for one in ids])


if __name__ == "__main__":
    grpc_port, metrics_port = map(int, os.environ["PEER_SPARE_PORTS"].split(","))
    config = TritonConfig(
        http_address="127.0.0.1",
        http_port=int(os.environ["PEER_PORT"]),
        grpc_address="127.0.0.1",
        grpc_port=grpc_port,
        metrics_address="127.0.0.1",
        metrics_port=metrics_port,
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name="relevance",
            infer_func=[Instance() for _ in range(int(os.environ["PEER_WORKERS"]))],
            inputs=[
                Tensor(name="query", shape=(1,), dtype=bytes),
                Tensor(name="product_ids", shape=(-1,), dtype=bytes),
            ],
            outputs=[Tensor(name="scores", shape=(-1,), dtype=np.float32)],
            config=ModelConfig(batching=False),
        )
        triton.serve()
