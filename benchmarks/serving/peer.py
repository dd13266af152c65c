"""The alternative: FastAPI that calls a SavedModel, one request at a time: `python -m benchmarks.serving.peer MODEL`.

Prints its address. It does what tutorials do: the same requests and answers, without versions, batches or checks.
"""

from __future__ import annotations

import socket
import sys
from typing import Any


def main(model: str) -> None:
    import fastapi
    import tensorflow as tf
    import uvicorn

    loaded = tf.saved_model.load(model)
    served = loaded.signatures["serving_default"]
    (name,) = served.structured_input_signature[1]
    app = fastapi.FastAPI()

    @app.post("/v1/models/my_model:predict")
    async def predict(body: dict[str, Any]) -> dict[str, Any]:
        (output,) = served(**{name: tf.constant(body["instances"], tf.float32)}).values()
        return {"predictions": output.numpy().tolist()}

    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
        config = uvicorn.Config(app, http="httptools", loop="uvloop", access_log=False, log_level="critical")
        uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main(sys.argv[1])
