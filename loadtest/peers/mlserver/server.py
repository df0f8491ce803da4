"""MLServer: a custom runtime with decoded arguments.

https://docs.seldon.ai/mlserver/user-guide/custom
`parallel_workers=0` serves in the HTTP process; more moves each request to a pool of processes:
https://docs.seldon.ai/mlserver/user-guide/parallel-inference
"""

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse

from loadtest.peers.job import job_from_environment


class Relevance(MLModel):
    async def load(self) -> bool:
        self.job = job_from_environment()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        inputs = {one.name: StringCodec.decode_input(one) for one in payload.inputs}
        scores = self.job.scores(inputs["query"][0], inputs["product_ids"])
        output = NumpyCodec.encode_output("scores", scores.astype(np.float32))
        return InferenceResponse(model_name=self.name, outputs=[output])
