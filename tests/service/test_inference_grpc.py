"""The Open Inference Protocol over gRPC: tritonclient, and calls that no good client makes."""

import asyncio
import gzip
import random
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import grpc
import httpx
import pytest
from open_inference.grpc import protocol

from service.grpc_port import held_port
from service.key_file import add_key
from service.settings import Settings, SettingsError
from tests.fuzz.mutations import mutated
from tests.service.conftest import Service, StartService, free_port, start
from tests.service.rollouts import MODEL, until
from tests.service.test_inference import QUERY
from tests.service.test_operation import counter
from tests.service.triton import triton

SERVICE = "/inference.GRPCInferenceService/"
LABEL = f'endpoint="{SERVICE}ModelInfer"'


@dataclass(frozen=True)
class Called:
    """A service of two workers that wants API keys, and its port of gRPC."""

    service: Service
    port: int
    key: str

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What opens."""
        return (("authorization", f"Bearer {self.key}"),)

    def asked(self, call: "Callable[[grpc.aio.Channel], Awaitable[Any]]") -> Any:
        """The outcome of calls on one channel."""

        async def on_channel() -> Any:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{self.port}") as channel:
                return await call(channel)

        return asyncio.run(on_channel())

    def metric(self, series: str) -> float:
        """A value on the page of metrics."""
        return counter(self.service.client.get("/metrics").text, series)


def method(channel: grpc.aio.Channel, name: str, answer: Any) -> Any:
    """A call by its name; what it takes is a message or bytes."""
    return channel.unary_unary(
        SERVICE + name,
        request_serializer=lambda sent: (
            sent if isinstance(sent, bytes) else sent.SerializeToString()
        ),
        response_deserializer=answer.FromString,
    )


def request(ids: list[str], query: str = QUERY) -> Any:
    """A good request, its tensors as typed contents."""
    message = protocol.ModelInferRequest(model_name=MODEL)
    for name, elements in (("query", [query]), ("product_ids", ids)):
        tensor = message.inputs.add(name=name, datatype="BYTES", shape=[len(elements)])
        tensor.contents.bytes_contents.extend(each.encode() for each in elements)
    return message


@pytest.fixture(scope="module")
def called(cheap_store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Called]:
    """Two workers on one port of gRPC."""
    folder = tmp_path_factory.mktemp("grpc")
    file, port = folder / "api-keys", free_port()
    key = add_key(file, "ranker")
    settings = {
        **{"models": MODEL, "workers": "2", "grpc_port": str(port), "api_keys_file": str(file)},
        **{"max_body_bytes": "1000000", "max_inflight_candidates": "10000"},
    }
    with ExitStack() as stack:
        service = start(stack, folder, cheap_store, settings)
        service.wait_for("/readyz")
        yield Called(service, port, key)


def test_tritonclient_gets_the_scores_of_score_bit_by_bit(called: Called, ids: list[str]) -> None:
    chosen = [*ids[:700], "no such product"]
    headers = {"Accept": "application/octet-stream", "Authorization": f"Bearer {called.key}"}
    body = {"query": QUERY, "product_ids": chosen}
    expected = httpx.post(f"{called.service.url}/score", json=body, headers=headers, timeout=60)
    with triton("grpc", called.port) as client:
        options: dict[str, object] = {
            "headers": {"authorization": f"Bearer {called.key}"},
            "request_id": "a-1",
        }
        answer = client.infer(MODEL, QUERY, chosen, options)
        assert answer["scores"] == expected.content.hex()
        assert answer["found"] == "01" * 700 + "00"
        assert (answer["response"]["id"], answer["response"]["model_version"]) == ("a-1", "1")
        only = client.infer(MODEL, QUERY, [5, 6], {**options, "outputs": ["found"]})
        assert (only["found"], only["scores"]) == ("0000", None)
        zipped = client.infer(MODEL, QUERY, chosen, {**options, "compression_algorithm": "gzip"})
        assert zipped["scores"] == answer["scores"]
        refused = client.infer(MODEL, QUERY, chosen)
        assert refused["status"] == "StatusCode.UNAUTHENTICATED"
        assert "Authorization: Bearer" in refused["error"]


def test_everything_that_is_no_inference(called: Called) -> None:
    async def ask(channel: grpc.aio.Channel) -> tuple[Any, ...]:
        live = await method(channel, "ServerLive", protocol.ServerLiveResponse)(b"")
        ready = await method(channel, "ServerReady", protocol.ServerReadyResponse)(b"")
        server = await method(channel, "ServerMetadata", protocol.ServerMetadataResponse)(
            b"", metadata=called.metadata
        )
        named = protocol.ModelReadyRequest(name=MODEL)
        model_ready = await method(channel, "ModelReady", protocol.ModelReadyResponse)(
            named, metadata=called.metadata
        )
        named = protocol.ModelMetadataRequest(name=MODEL, version="1")
        model = await method(channel, "ModelMetadata", protocol.ModelMetadataResponse)(
            named, metadata=called.metadata
        )
        return live.live, ready.ready, server, model_ready.ready, model

    live, ready, server, model_ready, model = called.asked(ask)
    assert (live, ready, model_ready) == (True, True, True)  # the first two without a key
    assert server.name == "winnow"
    assert (model.name, list(model.versions)) == (MODEL, ["1"])
    assert [tensor.name for tensor in model.inputs] == ["query", "product_ids"]
    assert [list(tensor.shape) for tensor in model.outputs] == [[-1], [-1], [-1]]


Change = Callable[[Any], None]


def _both(message: Any) -> None:
    message.raw_input_contents.extend([b"", b""])


def _priority(message: Any) -> None:
    message.parameters["priority"].int64_param = 1


def _no_value(message: Any) -> None:
    message.parameters["strict"].SetInParent()


@pytest.mark.parametrize(
    ("change", "code", "what"),
    [
        (lambda m: setattr(m, "model_name", "x"), "NOT_FOUND", f"served: {MODEL}"),
        (lambda m: setattr(m, "model_version", "9"), "NOT_FOUND", "served: 1"),
        (lambda m: m.inputs.pop(), "INVALID_ARGUMENT", "query and product_ids"),
        (lambda m: setattr(m.inputs[1], "datatype", "FP32"), "INVALID_ARGUMENT", "got FP32"),
        (lambda m: m.inputs[1].shape.__setitem__(0, -1), "INVALID_ARGUMENT", "negative"),
        (lambda m: m.inputs[1].shape.__setitem__(0, 2**40), "INVALID_ARGUMENT", "at most 10000"),
        (lambda m: m.raw_input_contents.append(b""), "INVALID_ARGUMENT", "raw_input_contents"),
        (_both, "INVALID_ARGUMENT", "got both"),
        (lambda m: m.outputs.add(name="x"), "INVALID_ARGUMENT", "some of scores"),
        (_priority, "INVALID_ARGUMENT", "parameters.priority"),
        (_no_value, "INVALID_ARGUMENT", "parameters.strict: expected a value"),
    ],
)
def test_a_call_that_is_no_good_is_refused_and_says_why(
    called: Called, change: Change, code: str, what: str
) -> None:
    message = request(["p0001", "p0002"])
    change(message)
    error = _refused(called, message)
    assert error.code().name == code
    assert what in error.details()
    assert dict(error.trailing_metadata())["x-request-id"]


def test_bytes_that_are_no_message_or_too_many_are_refused(called: Called) -> None:
    assert _refused(called, b"\xff\xff\xff").code() == grpc.StatusCode.INVALID_ARGUMENT
    large = request(["x" * 250] * 9000)
    assert _refused(called, large).code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    # A megabyte of one byte is a kilobyte in gzip: what counts is what comes out.
    bomb = request([], query="x" * 4_000_000)
    assert len(gzip.compress(bomb.SerializeToString())) < 10_000
    error = _refused(called, bomb, grpc.Compression.Gzip)
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    unknown = _refused(called, b"", name="ModelStreamInfer")
    assert unknown.code() == grpc.StatusCode.UNIMPLEMENTED


def test_damaged_messages(called: Called, ids: list[str]) -> None:
    """Whatever comes of them, it is an answer or a status of the table, and no INTERNAL."""
    chance = random.Random(7)
    raw = request([])
    raw.inputs[1].shape[:] = [2]
    for tensor in raw.inputs:
        tensor.ClearField("contents")
    raw.raw_input_contents.extend([b"\x01\0\0\0a", b"\x01\0\0\0a\x02\0\0\0bc"])
    good = [each.SerializeToString() for each in (request(ids[:9]), raw)]

    async def ask(channel: grpc.aio.Channel) -> set[str]:
        infer = method(channel, "ModelInfer", protocol.ModelInferResponse)
        came = set()
        for number in range(200):
            message = mutated(good[number % 2], good, chance) if number > 1 else good[number]
            try:
                await infer(message, metadata=called.metadata)
                came.add("OK")
            except grpc.aio.AioRpcError as error:
                came.add(error.code().name)
        return came

    assert called.asked(ask) == {"OK", "INVALID_ARGUMENT", "NOT_FOUND"}


def _refused(
    called: Called,
    message: Any,
    compression: grpc.Compression | None = None,
    name: str = "ModelInfer",
) -> Any:
    """The error of one call."""

    async def ask(channel: grpc.aio.Channel) -> Any:
        infer = method(channel, name, protocol.ModelInferResponse)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await infer(message, metadata=called.metadata, compression=compression)
        return refused.value

    return called.asked(ask)


def test_what_is_too_much_is_shed_and_counted(called: Called, ids: list[str]) -> None:
    message = request((ids * 4)[:9000])

    async def ask(channel: grpc.aio.Channel) -> list[Any]:
        infer = method(channel, "ModelInfer", protocol.ModelInferResponse)
        calls = [infer(message, metadata=called.metadata) for _ in range(30)]
        return await asyncio.gather(*calls, return_exceptions=True)

    outcomes = called.asked(ask)
    answered = [each for each in outcomes if not isinstance(each, grpc.aio.AioRpcError)]
    shed = {each.code() for each in outcomes if isinstance(each, grpc.aio.AioRpcError)}
    assert answered
    assert len({each.raw_output_contents[0] for each in answered}) == 1
    assert shed == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    count = called.metric(f"winnow_shed_requests_total{{{LABEL}}}")
    assert count == len(outcomes) - len(answered)


def test_who_waits_no_longer_costs_nothing_more(called: Called, ids: list[str]) -> None:
    """A deadline or a call given up ends the work, and gives its candidates back."""
    series = f'winnow_degraded_responses_total{{{LABEL},reason="deadline"}}'
    message = request((ids * 4)[:3000])

    async def ask(channel: grpc.aio.Channel, leave: bool) -> None:
        infer = method(channel, "ModelInfer", protocol.ModelInferResponse)
        timeout = 60 if leave else 0.004
        calls = [infer(message, metadata=called.metadata, timeout=timeout) for _ in range(3)]
        if leave:
            await asyncio.sleep(0.004)
            for call in calls:
                call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    for leave in (False, True):
        before = called.metric(series)

        def ended(before: float = before, leave: bool = leave) -> bool:
            called.asked(lambda channel: ask(channel, leave))
            return called.metric(series) > before

        until(ended, "an answer that its deadline or its client ended")
    until(lambda: called.metric("winnow_inflight_candidates") == 0, "nothing is in flight")


def test_it_ends_as_http_does(
    cheap_store: str, start_service: StartService, ids: list[str]
) -> None:
    port = free_port()
    service = start_service(
        cheap_store, {"models": MODEL, "grpc_port": str(port), "drain_ms": "4000"}
    )
    service.wait_for("/readyz")
    called = Called(service, port, "")

    async def ask(channel: grpc.aio.Channel) -> list[str]:
        infer = method(channel, "ModelInfer", protocol.ModelInferResponse)
        ready = method(channel, "ServerReady", protocol.ServerReadyResponse)
        await infer(request(ids[:5]))
        service.process.send_signal(signal.SIGTERM)
        while (await ready(b"")).ready:
            await asyncio.sleep(0.02)
        outcomes: list[str] = []
        while not outcomes or outcomes[-1] == "OK":  # it answers until it is gone
            try:
                await infer(request(ids[:5]), timeout=30)
                outcomes.append("OK")
            except grpc.aio.AioRpcError as error:
                outcomes.append(error.code().name)
            await asyncio.sleep(0.02)
        return outcomes

    outcomes = called.asked(ask)
    assert len(outcomes) > 20
    assert outcomes[-1] in {"UNAVAILABLE", "CANCELLED"}  # the latter where it came as it ended
    assert service.process.wait(timeout=60) == 0
    assert "Traceback" not in service.log.read_text()


def test_a_port_that_is_taken_is_said_before_anything_starts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = Settings(store="lmdb:rows", grpc_port=port)
        with pytest.raises(SettingsError, match=f"127.0.0.1:{port} can't be listened on"):
            held_port(settings).__enter__()


def test_a_port_is_held_for_the_workers_and_given_back() -> None:
    settings = Settings(store="lmdb:rows", grpc_port=free_port())
    address = ("127.0.0.1", settings.grpc_port)
    with held_port(settings), pytest.raises(OSError, match="in use"):
        socket.create_server(address).close()
    socket.create_server(address).close()


def test_the_extra_has_to_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.grpc_port.find_spec", lambda _: None)
    settings = Settings(store="lmdb:rows", grpc_port=free_port())
    with pytest.raises(SettingsError, match=r"needs grpc, .* pip install 'winnow-relevance\[grpc"):
        held_port(settings).__enter__()
