"""Load and cost measurements: speak HTTP, Redis and ONNX Runtime; import nothing of the project."""
