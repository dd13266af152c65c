"""The gRPC interface: PredictionService, ModelService and health."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from orchestrator.serving.messages import message
from orchestrator.serving.model import STATES, Version
from orchestrator.serving.paths import Wanted
from orchestrator.serving.predict_json import check_shapes
from orchestrator.serving.proto_tensors import from_proto, signature_map, to_proto
from orchestrator.serving.refusal import Refusal
from orchestrator.serving.service import Service
from orchestrator.serving.signature import DEFAULT, Arrays, Signature

_SERVING = "tensorflow.serving"
_SERVICES = {f"{_SERVING}.PredictionService", f"{_SERVING}.ModelService", "grpc.health.v1.Health", ""}
_SERVED, _NOT_SERVED, _UNKNOWN = 1, 2, 2
Answer = Callable[[Any], Awaitable[Any]]


class Rpc:
    """Answers gRPC requests for a service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def handlers(self) -> tuple[Any, ...]:
        """Handlers for `grpc.aio.Server.add_generic_rpc_handlers`."""
        table: Mapping[str, Mapping[str, tuple[Answer, str]]] = {
            f"{_SERVING}.PredictionService": {
                "Predict": (self._predict, f"{_SERVING}.PredictRequest"),
                "GetModelMetadata": (self._metadata, f"{_SERVING}.GetModelMetadataRequest"),
            },
            f"{_SERVING}.ModelService": {"GetModelStatus": (self._status, f"{_SERVING}.GetModelStatusRequest")},
            "grpc.health.v1.Health": {"Check": (self._health, "grpc.health.v1.HealthCheckRequest")},
        }
        import grpc

        return tuple(
            grpc.method_handlers_generic_handler(
                service, {method: self._handler(answer, request) for method, (answer, request) in methods.items()}
            )
            for service, methods in table.items()
        )

    def _handler(self, answer: Answer, request: str) -> Any:
        import grpc

        async def answered(given: Any, context: Any) -> Any:
            try:
                if answer != self._health:
                    self._service.authenticate(dict(context.invocation_metadata()).get("authorization"))
                return await answer(given)
            except Refusal as refusal:
                await context.abort(getattr(grpc.StatusCode, refusal.status), refusal.message)

        return grpc.unary_unary_rpc_method_handler(
            answered,
            request_deserializer=message(request).FromString,
            response_serializer=lambda made: made.SerializeToString(),
        )

    async def _predict(self, request: Any) -> Any:
        since, status, version = time.monotonic(), "OK", None
        wanted = _wanted(request.model_spec)
        try:
            version = self._service.model.find(wanted)
            name = request.model_spec.signature_name or DEFAULT
            if name not in version.description.signatures:
                raise Refusal("FAILED_PRECONDITION", f'Serving signature key "{name[:200]}" not found.')
            signature = version.signature(name)
            inputs = _inputs(request, signature)
            asked = _outputs(request, signature)
            outputs = await self._service.predict(version, name, inputs)
            return _response(request, version, name, {key: outputs[key] for key in asked})
        except Refusal as refusal:
            status = refusal.status
            raise
        except asyncio.CancelledError:
            status = "CANCELLED"
            raise
        finally:
            self._service.record(wanted, version, "Predict", "GRPC", status, since)

    async def _metadata(self, request: Any) -> Any:
        wanted = _wanted(request.model_spec)
        if not request.metadata_field:
            raise Refusal("INVALID_ARGUMENT", "GetModelMetadataRequest must specify at least one metadata_field")
        if other := [field for field in request.metadata_field if field != "signature_def"]:
            raise Refusal("INVALID_ARGUMENT", f"Metadata field {other[0][:100]} is not supported")
        version = self._service.model.find(wanted)
        response = message(f"{_SERVING}.GetModelMetadataResponse")()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = version.number
        packed = response.metadata["signature_def"]
        packed.type_url = f"type.googleapis.com/{_SERVING}.SignatureDefMap"
        packed.value = signature_map(version.description).SerializeToString()
        return response

    async def _status(self, request: Any) -> Any:
        response = message(f"{_SERVING}.GetModelStatusResponse")()
        for version in self._service.model.status(_wanted(request.model_spec)):
            added = response.model_version_status.add(version=version.number, state=STATES[version.state])
            added.status.error_code = _UNKNOWN if version.error else 0
            added.status.error_message = version.error
        return response

    async def _health(self, request: Any) -> Any:
        if request.service not in _SERVICES:
            raise Refusal("NOT_FOUND", f"There is no service {request.service[:100]}.")
        healthy = self._service.model.ready and not self._service.ending
        return message("grpc.health.v1.HealthCheckResponse")(status=_SERVED if healthy else _NOT_SERVED)


def _wanted(spec: Any) -> Wanted:
    if not spec.name:
        raise Refusal("INVALID_ARGUMENT", "Missing ModelSpec")
    if spec.HasField("version") and spec.version_label:
        raise Refusal("INVALID_ARGUMENT", "Both model version and model version label cannot be supplied.")
    return Wanted(spec.name, spec.version.value if spec.HasField("version") else None, spec.version_label or None)


def _inputs(request: Any, signature: Signature) -> Arrays:
    given, wanted = set(request.inputs), set(signature.inputs)
    if given != wanted:
        extra, missing = ",".join(sorted(given - wanted))[:300], ",".join(sorted(wanted - given))
        raise Refusal(
            "INVALID_ARGUMENT",
            f"input size does not match signature: {len(given)}!={len(wanted)}. Sent extra: {{{extra}}}. "
            f"Missing but required: {{{missing}}}.",
        )
    arrays = {name: from_proto(name, request.inputs[name], signature.inputs[name]) for name in signature.inputs}
    check_shapes(arrays, signature)
    return arrays


def _outputs(request: Any, signature: Signature) -> list[str]:
    asked = list(request.output_filter)
    for place, name in enumerate(asked):
        if name not in signature.outputs:
            raise Refusal("INVALID_ARGUMENT", f"output tensor alias not found in signature: {name[:200]}")
        if name in asked[:place]:
            raise Refusal("INVALID_ARGUMENT", f"duplicate output tensor alias: {name[:200]}")
    return asked or list(signature.outputs)


def _response(request: Any, version: Version, signature: str, outputs: Arrays) -> Any:
    response = message(f"{_SERVING}.PredictResponse")()
    for name, array in outputs.items():
        response.outputs[name].CopyFrom(to_proto(array))
    response.model_spec.name = request.model_spec.name
    response.model_spec.version.value = version.number
    response.model_spec.signature_name = signature
    return response
