"""Bodies of the Open Inference Protocol (V2): these models validate requests and document answers.

Unknown fields are refused. `model_name` and `model_version` are the URL's to say; some clients
repeat them in the body.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Parameter = bool | int | float | str
Parameters = dict[str, Parameter]
Dimension = Annotated[int, Field(ge=0, le=2**63 - 1)]
Shape = Annotated[list[Dimension], Field(min_length=1, max_length=2)]
OutputName = Literal["scores", "found", "raw_scores"]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, protected_namespaces=())


class InputTensor(_Strict):
    """`query` or `product_ids`; its data in JSON, or in bytes behind the JSON."""

    name: Literal["query", "product_ids"]
    datatype: Literal["BYTES", "INT64"]
    shape: Shape
    parameters: Parameters = Field(
        default_factory=dict, description="binary_data_size: bytes of it behind the JSON"
    )
    data: list[Any] | None = Field(None, description="strings, or integers where INT64")


class RequestedOutput(_Strict):
    """An output to answer with."""

    name: OutputName
    parameters: Parameters = Field(
        default_factory=dict, description="binary_data: whether its data comes behind the JSON"
    )


class InferenceRequest(_Strict):
    """Body of `POST /v2/models/{model}/infer`."""

    inputs: list[InputTensor] = Field(
        examples=[
            [
                {"name": "query", "shape": [1], "datatype": "BYTES", "data": ["red lamp"]},
                {"name": "product_ids", "shape": [2], "datatype": "BYTES", "data": ["p1", "p2"]},
            ]
        ]
    )
    outputs: list[RequestedOutput] | None = Field(None, description="all of them where absent")
    parameters: Parameters = Field(
        default_factory=dict,
        description="timeout or deadline_us: microseconds; strict; binary_data_output",
    )
    id: str | None = Field(None, description="comes back in the answer")
    model_name: str | None = Field(None, description="not read: the URL has it")
    model_version: str | None = Field(None, description="not read: the URL has it")


class OutputTensor(BaseModel):
    """One output; `data` in JSON, or `parameters.binary_data_size` bytes behind the JSON."""

    name: OutputName
    datatype: Literal["FP32", "BOOL"]
    shape: list[int]
    parameters: Parameters | None = None
    data: list[float | bool | None] | None = Field(None, description="null = no score")


class InferenceResponse(BaseModel):
    """Answer of `POST /v2/models/{model}/infer`; its parameters are the coverage."""

    model_config = ConfigDict(protected_namespaces=())

    model_name: str
    model_version: str
    id: str | None = None
    parameters: Parameters
    outputs: list[OutputTensor]


class InferenceError(BaseModel):
    """Every error of the protocol."""

    error: str


class ServerMetadata(BaseModel):
    """Answer of `GET /v2`."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(BaseModel):
    """Name, type and shape of a tensor; -1 = any number of candidates."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """Answer of `GET /v2/models/{model}`."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ServerLive(BaseModel):
    """Answer of `GET /v2/health/live`."""

    live: bool


class ServerReady(BaseModel):
    """Answer of `GET /v2/health/ready`."""

    ready: bool


class ModelReady(BaseModel):
    """Answer of `GET /v2/models/{model}/ready`."""

    name: str
    ready: bool
