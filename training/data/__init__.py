"""Corpora in memory and the features of their clips."""
