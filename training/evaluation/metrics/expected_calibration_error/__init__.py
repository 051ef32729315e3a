"""Expected calibration error, as a module of `evaluate`, which copies the single-dot siblings it imports."""
