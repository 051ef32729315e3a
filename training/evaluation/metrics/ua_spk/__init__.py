"""UA_spk, as a module of `evaluate`: nothing here is imported but single-dot siblings, which `evaluate` copies."""
