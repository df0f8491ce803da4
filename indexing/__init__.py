"""Catalogue files -> rows in a vector set. Never torch, never HTTP."""
