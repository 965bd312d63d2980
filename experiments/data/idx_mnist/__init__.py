"""MNIST from its four original files."""
