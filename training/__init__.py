"""Corpora, episodes, the MetaICL trainer, metrics and experiments."""
