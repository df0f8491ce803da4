"""The six calls of the Open Inference Protocol over gRPC: protobuf messages in and out.

Each is an ASGI handler whose body is one serialized message; inference_grpc.py is what carries
them. Extra: `grpc`.
"""

from collections.abc import Awaitable, Callable, Mapping
from time import perf_counter
from typing import Final

from google.protobuf.message import DecodeError, Message
from open_inference.grpc import protocol
from starlette.requests import Request
from starlette.responses import Response

from service.about import require_ready
from service.answering import Answer
from service.bodies import invalid
from service.errors import MalformedMessage, ServiceError
from service.inference import (
    IGNORED,
    Inference,
    infer,
    model_metadata,
    model_ready,
    parameters_of,
    server_metadata,
)
from service.inference_errors import GRPC_SERVICE
from service.inference_schemas import Parameter, TensorMetadata
from service.inference_tensors import OUTPUTS, Tensor, output_array, raw_bytes

Handler = Callable[[Request], Awaitable[Response]]


async def _server_live(_: Request) -> Response:
    return _response(protocol.ServerLiveResponse(live=True))


async def _server_ready(request: Request) -> Response:
    try:
        require_ready(request.app.state.worker)
    except ServiceError:
        return _response(protocol.ServerReadyResponse(ready=False))
    return _response(protocol.ServerReadyResponse(ready=True))


async def _model_ready(request: Request) -> Response:
    asked = protocol.ModelReadyRequest()
    await _read(request, asked)
    ready = model_ready(request.app.state.worker, asked.name, asked.version or None)
    return _response(protocol.ModelReadyResponse(ready=ready))


async def _server_metadata(_: Request) -> Response:
    server = server_metadata()
    return _response(
        protocol.ServerMetadataResponse(
            name=server.name, version=server.version, extensions=server.extensions
        )
    )


async def _model_metadata(request: Request) -> Response:
    asked = protocol.ModelMetadataRequest()
    await _read(request, asked)
    model = model_metadata(request.app.state.worker, asked.name, asked.version or None)
    return _response(
        protocol.ModelMetadataResponse(
            name=model.name,
            versions=model.versions,
            platform=model.platform,
            inputs=[_tensor_metadata(each) for each in model.inputs],
            outputs=[_tensor_metadata(each) for each in model.outputs],
        )
    )


async def _model_infer(request: Request) -> Response:
    arrived = perf_counter()
    request.app.state.worker.drain.note_request()
    message = protocol.ModelInferRequest()
    await _read(request, message)
    asked = _inference_of(message)
    version = message.model_version or None
    return await infer(request, message.model_name, version, asked, _infer_response, arrived)


HANDLERS: Final[Mapping[str, Handler]] = {
    GRPC_SERVICE + "ServerLive": _server_live,
    GRPC_SERVICE + "ServerReady": _server_ready,
    GRPC_SERVICE + "ModelReady": _model_ready,
    GRPC_SERVICE + "ServerMetadata": _server_metadata,
    GRPC_SERVICE + "ModelMetadata": _model_metadata,
    GRPC_SERVICE + "ModelInfer": _model_infer,
}


def _inference_of(message: protocol.ModelInferRequest) -> Inference:
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise invalid(
            "raw_input_contents",
            f"expected one for each of {len(message.inputs)} inputs, or none; got {len(raw)}",
        )
    tensors = []
    for place, tensor in enumerate(message.inputs):
        _require_plain(tensor.name, tensor.parameters)
        if raw and tensor.HasField("contents"):
            raise invalid(tensor.name, "expected contents or raw_input_contents, got both")
        tensors.append(_tensor(tensor, raw[place] if raw else None))
    outputs = [output.name for output in message.outputs] or list(OUTPUTS)
    for output in message.outputs:
        _require_plain(output.name, output.parameters)
        if output.name not in OUTPUTS or outputs.count(output.name) > 1:
            known = ", ".join(OUTPUTS)
            raise invalid("outputs", f"expected some of {known}, each once, got {output.name!r}")
    parameters = {
        name: _parameter(name, parameter) for name, parameter in message.parameters.items()
    }
    return Inference(message.id or None, tuple(tensors), tuple(outputs), parameters)


def _tensor(tensor: protocol.ModelInferRequest.InferInputTensor, raw: bytes | None) -> Tensor:
    contents = tensor.contents
    elements = contents.int64_contents if tensor.datatype == "INT64" else contents.bytes_contents
    shape = tuple(tensor.shape)
    if any(dimension < 0 for dimension in shape):
        raise invalid(tensor.name, f"expected a shape without negative numbers, got {list(shape)}")
    return Tensor(
        tensor.name, tensor.datatype, shape, raw, None if raw is not None else list(elements)
    )


def _infer_response(asked: Inference, answer: Answer) -> Response:
    message = protocol.ModelInferResponse(
        model_name=answer.manifest.name,
        model_version=answer.manifest.version,
        id=asked.request_id or "",
    )
    for name, value in parameters_of(answer.covered).items():
        if isinstance(value, bool):
            message.parameters[name].bool_param = value
        else:
            message.parameters[name].int64_param = value
    for name in asked.outputs:
        array = output_array(name, answer.scored)
        message.outputs.add(name=name, datatype=OUTPUTS[name], shape=array.shape)
        message.raw_output_contents.append(raw_bytes(array))
    return _response(message)


def _parameter(name: str, parameter: protocol.InferParameter) -> Parameter:
    chosen = parameter.WhichOneof("parameter_choice")
    if chosen is None:
        raise invalid(f"parameters.{name}", "expected a value")
    value: Parameter = getattr(parameter, chosen)
    return value


def _require_plain(tensor: str, parameters: Mapping[str, protocol.InferParameter]) -> None:
    unknown = sorted(parameters.keys() - {IGNORED})
    if unknown:
        raise invalid(f"{tensor}.parameters.{unknown[0]}", "unknown; none is known over gRPC")


def _tensor_metadata(tensor: TensorMetadata) -> protocol.ModelMetadataResponse.TensorMetadata:
    return protocol.ModelMetadataResponse.TensorMetadata(
        name=tensor.name, datatype=tensor.datatype, shape=tensor.shape
    )


async def _read(request: Request, message: Message) -> None:
    try:
        message.ParseFromString(await request.body())
    except DecodeError as error:
        name = message.DESCRIPTOR.full_name
        raise MalformedMessage(f"expected a message {name}: {error}") from error


def _response(message: Message) -> Response:
    return Response(message.SerializeToString(), media_type="application/grpc+proto")
