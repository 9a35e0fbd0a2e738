"""Sparse methods: train a few of the base's own parameters."""
