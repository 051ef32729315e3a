"""Checkpoints for other people: provenance, cards and exports."""
