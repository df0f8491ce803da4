"""The contract between training and serving: bundles, registry, tokenizers, OnnxStudent."""
