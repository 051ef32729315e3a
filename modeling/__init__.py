"""Island 1: configurations and models, exported to the Hub as they stand here."""
