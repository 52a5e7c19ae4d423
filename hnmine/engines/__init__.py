"""Engines: encoders, rerankers, index back ends. Heavy imports live inside functions."""
