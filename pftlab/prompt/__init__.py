"""Prompts: trainable vectors beside the words."""
