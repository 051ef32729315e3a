"""What is trained: models composed by name, and their trainers."""
