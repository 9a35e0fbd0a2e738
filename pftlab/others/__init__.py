"""Other methods, and hybrids that compose the families."""
