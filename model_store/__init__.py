"""The contract between training and serving: bundles, registry, tokenizers, OnnxStudent."""

import os

# ONNX Runtime reads it when it is imported, and else tells Microsoft of every session.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
