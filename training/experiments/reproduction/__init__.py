"""The paper's systems, trained and measured on any corpus, and its three tables."""
