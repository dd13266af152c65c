"""A server that speaks TensorFlow Serving's REST and gRPC interfaces, in front of models that run on Ray Serve."""
