"""Judgements and the numbers made from them. Never torch, fastapi or redis."""
