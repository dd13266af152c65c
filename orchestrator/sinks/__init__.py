"""Where measurements go besides the run folder: TensorBoard, MLflow, Ray's metrics."""
