"""Batches made before training: which rows must not share one, and which rows belong together."""
