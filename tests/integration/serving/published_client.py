"""Asks a server with the client that TensorFlow Serving publishes: `python published_client.py HOST:PORT`."""

from __future__ import annotations

import json
import sys

import grpc
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

if __name__ == "__main__":
    channel = grpc.insecure_channel(sys.argv[1], options=[("grpc.enable_http_proxy", 0)])
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "my_model"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], tf.float32))
    answer = stub.Predict(request, timeout=300)
    asked = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    asked.model_spec.name = "my_model"
    metadata = stub.GetModelMetadata(asked, timeout=300)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    metadata.metadata["signature_def"].Unpack(signatures)
    wanted = get_model_status_pb2.GetModelStatusRequest()
    wanted.model_spec.name = "my_model"
    status = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(wanted, timeout=300)
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([[1.0]], tf.float32))
    try:
        stub.Predict(request, timeout=300)
        refused = ""
    except grpc.RpcError as error:
        refused = error.code().name
    print(
        json.dumps(
            {
                "y": tf.make_ndarray(answer.outputs["y"]).tolist(),
                "version": answer.model_spec.version.value,
                "input": signatures.signature_def["serving_default"].inputs["x"].dtype,
                "states": {one.version: one.state for one in status.model_version_status},
                "refused": refused,
            }
        )
    )
