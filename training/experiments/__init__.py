"""Recipes, and all systems of the paper by one command."""
