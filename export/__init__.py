"""Students in PyTorch, their training, and their way into a bundle; nothing here is served."""
