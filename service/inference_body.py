"""HTTP bodies of the Open Inference Protocol: JSON, and tensors as bytes behind it.

The binary extension: the header `Inference-Header-Content-Length` says where the JSON ends; the
bytes of each tensor that has a `binary_data_size` follow, in the order of the tensors.
"""

from typing import Any, Final

import orjson
from pydantic import ValidationError
from starlette.responses import Response

from service.answering import Answer
from service.bodies import BINARY, invalid, refusal, server_timing
from service.inference import IGNORED, Inference, parameters_of
from service.inference_schemas import InferenceRequest, InputTensor, Parameters, RequestedOutput
from service.inference_tensors import OUTPUTS, Tensor, output_array, raw_bytes

HEADER: Final = "Inference-Header-Content-Length"
_ALL: Final = [RequestedOutput.model_validate({"name": name}) for name in OUTPUTS]


def decode(body: bytes, json_bytes: str | None, model: str) -> tuple[Inference, frozenset[str]]:
    """What a body asks of a model, and the names of the outputs it wants in bytes.

    json_bytes: value of the header, None where all of the body is JSON

    Raises:
        MalformedJson: not JSON.
        InvalidField: a field or the header is no good, or the sizes are not those of the body.
    """
    end = len(body) if json_bytes is None else _json_end(json_bytes, len(body))
    try:
        asked = InferenceRequest.model_validate_json(body[:end])
    except ValidationError as error:
        raise refusal(error) from error
    if asked.model_name not in {None, model}:
        raise invalid("model_name", f"expected {model!r}, as in the URL, got {asked.model_name!r}")
    tensors, at = [], end
    for tensor in asked.inputs:
        size = _binary_size(tensor)
        if size is not None and size > len(body) - at:
            raise invalid(
                f"{tensor.name}.binary_data_size",
                f"expected at most the {len(body) - at} bytes that are left behind the JSON, "
                f"got {size}: {HEADER} has to say where the JSON ends",
            )
        raw = None if size is None else body[at : at + size]
        at += size or 0
        tensors.append(Tensor(tensor.name, tensor.datatype, tuple(tensor.shape), raw, tensor.data))
    if at != len(body):
        raise invalid(
            "binary_data_size", f"expected the end of the body, got {len(body) - at} bytes more"
        )
    outputs = _outputs(asked)
    wanted = frozenset(name for name, binary in outputs.items() if binary)
    return Inference(asked.id, tuple(tensors), tuple(outputs), asked.parameters), wanted


def encode(asked: Inference, answer: Answer, binary: frozenset[str]) -> Response:
    """The answer; a candidate without a score is NaN in bytes and null in JSON."""
    outputs: list[dict[str, Any]] = []
    raw: list[bytes] = []
    for name in asked.outputs:
        array = output_array(name, answer.scored)
        output = {"name": name, "datatype": OUTPUTS[name], "shape": array.shape}
        if name in binary:
            raw.append(raw_bytes(array))
            outputs.append({**output, "parameters": {"binary_data_size": len(raw[-1])}})
        else:
            outputs.append({**output, "data": array})
    content = {
        "model_name": answer.manifest.name,
        "model_version": answer.manifest.version,
        **({} if asked.request_id is None else {"id": asked.request_id}),
        "parameters": parameters_of(answer.covered),
        "outputs": outputs,
    }
    text = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    headers = server_timing(answer.stages_s)
    if not raw:
        return Response(text, headers=headers, media_type="application/json")
    headers[HEADER] = str(len(text))
    return Response(b"".join([text, *raw]), headers=headers, media_type=BINARY)


def _json_end(value: str, body_bytes: int) -> int:
    # Of 9 digits, so that no number is too long to be read; no body is a gigabyte.
    end = int(value) if len(value) <= 9 and value.isascii() and value.isdigit() else -1
    if not 0 < end <= body_bytes:
        raise invalid(HEADER, f"expected the bytes of JSON, 1 to {body_bytes}, got {value[:40]!r}")
    return end


def _binary_size(tensor: InputTensor) -> int | None:
    """Bytes of a tensor behind the JSON; None: its data is in the JSON."""
    _require_known(tensor.name, tensor.parameters, "binary_data_size")
    size = tensor.parameters.get("binary_data_size")
    if size is None:
        return None
    if type(size) is not int or size < 0:
        raise invalid(f"{tensor.name}.binary_data_size", f"expected bytes, got {size!r}")
    if tensor.data is not None:
        raise invalid(tensor.name, "expected data or binary_data_size, got both")
    return size


def _outputs(asked: InferenceRequest) -> dict[str, bool]:
    """The outputs in the order they were asked for, and whether each is to come in bytes."""
    binary = asked.parameters.get("binary_data_output", False)
    requested = asked.outputs
    if requested is None:
        requested = _ALL
    outputs: dict[str, bool] = {}
    for output in requested:
        _require_known(output.name, output.parameters, "binary_data")
        wanted = output.parameters.get("binary_data", binary)
        if not isinstance(wanted, bool):
            raise invalid(f"{output.name}.binary_data", f"expected true or false, got {wanted!r}")
        if output.name in outputs:
            raise invalid("outputs", f"expected each output once, got {output.name} twice")
        outputs[output.name] = wanted
    return outputs


def _require_known(tensor: str, parameters: Parameters, known: str) -> None:
    unknown = sorted(parameters.keys() - {known, IGNORED})
    if unknown:
        raise invalid(f"{tensor}.parameters.{unknown[0]}", f"unknown; known is {known}")
