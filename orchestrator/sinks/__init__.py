"""Exports measurements to TensorBoard, MLflow and Ray's metrics, besides the run folder."""
