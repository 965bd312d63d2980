"""CIFAR-10 from its binary archive."""
