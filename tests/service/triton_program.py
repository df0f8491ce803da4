"""Asks a service by tritonclient, in that client's own environment: one JSON line in, one out."""

import json
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np
from tritonclient.utils import InferenceServerException

Call = Mapping[str, Any]
_PASSED = (
    *("model_version", "request_id", "timeout", "headers", "parameters"),
    *("request_compression_algorithm", "compression_algorithm"),
)


class Asking:
    """A client of one protocol, http or grpc, and the form that its answers take in JSON."""

    def __init__(self, protocol: str, address: str) -> None:
        self.http = protocol == "http"
        self.library: Any = import_module(f"tritonclient.{protocol}")
        self.client: Any = self.library.InferenceServerClient(address)
        self.in_json = {} if self.http else {"as_json": True}

    def infer(self, call: Call) -> dict[str, Any]:
        """Outputs as hexadecimal bytes: what comes is compared bit for bit."""
        binary = {"binary_data": call.get("binary", True)} if self.http else {}
        ids, shape = call["product_ids"], call.get("query_shape", [1])
        integers = isinstance(ids[0], int)
        inputs = [
            self.library.InferInput("query", shape, "BYTES"),
            self.library.InferInput("product_ids", [len(ids)], "INT64" if integers else "BYTES"),
        ]
        query = np.array([call["query"]], np.object_).reshape(shape)
        inputs[0].set_data_from_numpy(query, **binary)
        inputs[1].set_data_from_numpy(np.array(ids, np.int64 if integers else np.object_), **binary)
        wanted = call.get("outputs")
        outputs = wanted and [self.library.InferRequestedOutput(each, **binary) for each in wanted]
        passed = {name: call[name] for name in _PASSED if name in call}
        result = self.client.infer(call["model"], inputs, outputs=outputs, **passed)
        answer = {"response": result.get_response(**self.in_json)}
        for name in ("scores", "found", "raw_scores"):
            array = result.as_numpy(name)
            answer[name] = None if array is None else array.tobytes().hex()
        return answer

    def facts(self, call: Call) -> dict[str, Any]:
        """Everything that is no inference."""
        named = (call["model"], call.get("version", ""))
        return {
            **self.ready(call),
            "live": self.client.is_server_live(),
            "ready": self.client.is_server_ready(),
            "server": self.client.get_server_metadata(**self.in_json),
            "model": self.client.get_model_metadata(*named, **self.in_json),
        }

    def ready(self, call: Call) -> dict[str, Any]:
        """Whether one model is ready."""
        return {"model_ready": self.client.is_model_ready(call["model"], call.get("version", ""))}


def main(protocol: str, address: str) -> None:
    """Answers calls until there are no more."""
    asking = Asking(protocol, address)
    calls = {"infer": asking.infer, "facts": asking.facts, "ready": asking.ready}
    for line in sys.stdin:
        call = json.loads(line)
        try:
            answer = calls[call["do"]](call)
        except InferenceServerException as error:
            answer = {"error": error.message(), "status": error.status()}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
