"""Full and partial fine-tuning: train the base's own parameters."""
