"""KServe's Python model server, REST V2.

https://kserve.github.io/website/0.10/modelserving/v1beta1/custom/custom_model/
https://kserve.github.io/website/0.12/python_runtime_api/docs/api/
Workers are uvicorn's; gRPC, which nobody calls here, and the log line per request are off.
"""

import os

from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from kserve.utils.utils import generate_uuid

from loadtest.peers.job import job_from_environment


class Relevance(Model):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.load()

    def __reduce__(self) -> tuple[type["Relevance"], tuple[str]]:
        """KServe pickles the model into its worker processes: each loads its own."""
        return Relevance, (self.name,)

    def load(self) -> bool:
        self.job = job_from_environment()
        self.ready = True
        return self.ready

    def predict(
        self,
        payload: InferRequest,
        headers: dict[str, str] | None = None,  # noqa: ARG002 - KServe gives it
    ) -> InferResponse:
        inputs = {one.name: one.data for one in payload.inputs}
        scores = self.job.scores(inputs["query"][0], inputs["product_ids"])
        output = InferOutput(name="scores", shape=list(scores.shape), datatype="FP32")
        output.set_data_from_numpy(scores, binary_data=False)
        return InferResponse(
            response_id=generate_uuid(), model_name=self.name, infer_outputs=[output]
        )


if __name__ == "__main__":
    ModelServer(
        http_port=int(os.environ["PEER_PORT"]),
        workers=int(os.environ["PEER_WORKERS"]),
        enable_grpc=False,
        enable_latency_logging=False,
    ).start([Relevance("relevance")])
