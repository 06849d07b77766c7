"""Blocks that two or more architectures share; what only one needs stands in its own file."""
