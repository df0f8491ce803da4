"""Students in PyTorch and their way into a bundle; nothing here is served."""
