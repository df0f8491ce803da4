"""Asks a service by tritonclient, in that client's own environment: one JSON line in, one out."""

import json
import sys

import numpy as np


def main(protocol: str, address: str) -> None:
    """Answers calls until there are no more; protocol: http or grpc."""
    if protocol == "http":
        import tritonclient.http as library
    else:
        import tritonclient.grpc as library
    from tritonclient.utils import InferenceServerException

    client = library.InferenceServerClient(address)
    for line in sys.stdin:
        call = json.loads(line)
        try:
            answer = HANDLERS[call.pop("do")](library, client, protocol, **call)
        except InferenceServerException as error:
            answer = {"error": error.message(), "status": error.status()}
        print(json.dumps(answer), flush=True)


def infer(library, client, protocol, query, product_ids, model, **options):
    """Scores as hexadecimal bytes: what comes is compared bit for bit."""
    binary = {"binary_data": options.get("binary", True)} if protocol == "http" else {}
    dtype = np.int64 if isinstance(product_ids[0], int) else np.object_
    shape = options.get("query_shape", [1])
    inputs = [
        library.InferInput("query", shape, "BYTES"),
        library.InferInput(
            "product_ids", [len(product_ids)], "INT64" if dtype is np.int64 else "BYTES"
        ),
    ]
    inputs[0].set_data_from_numpy(np.array([query], np.object_).reshape(shape), **binary)
    inputs[1].set_data_from_numpy(np.array(product_ids, dtype), **binary)
    wanted = options.get("outputs")
    outputs = [library.InferRequestedOutput(name, **binary) for name in wanted] if wanted else None
    extra = {name: options[name] for name in EXTRA if name in options}
    result = client.infer(model, inputs, outputs=outputs, **extra)
    arrays = {name: result.as_numpy(name) for name in ("scores", "found", "raw_scores")}
    response = result.get_response(**({} if protocol == "http" else {"as_json": True}))
    return {
        "response": response,
        **{
            name: None if array is None else array.astype(array.dtype).tobytes().hex()
            for name, array in arrays.items()
        },
    }


EXTRA = (
    *("model_version", "request_id", "timeout", "headers", "parameters", "client_timeout"),
    *("request_compression_algorithm", "compression_algorithm"),
)


def facts(library, client, protocol, model, version=""):
    """Everything that is no inference."""
    json_form = {} if protocol == "http" else {"as_json": True}
    return {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model_ready": client.is_model_ready(model, version),
        "server": client.get_server_metadata(**json_form),
        "model": client.get_model_metadata(model, version, **json_form),
    }


def ready(library, client, protocol, model, version=""):
    """Whether one model is ready."""
    return {"model_ready": client.is_model_ready(model, version)}


HANDLERS = {"infer": infer, "facts": facts, "ready": ready}

if __name__ == "__main__":
    main(*sys.argv[1:])
