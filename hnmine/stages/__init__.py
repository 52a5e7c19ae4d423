"""Stages: frozen options in, artefact and report out."""
