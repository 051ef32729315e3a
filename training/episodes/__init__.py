"""What a model is trained on: enrollments, episodes and their batches."""
