"""The Penn Treebank as one long stream of words or of characters."""
