"""PFT Lab: parameter-efficient fine-tuning, from scratch."""
