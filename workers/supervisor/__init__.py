"""What runs beside a task's process: never imports TensorFlow, always answers."""
