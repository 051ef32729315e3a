"""How well a system does for speakers that it has never heard."""
