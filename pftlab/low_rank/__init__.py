"""Low-rank methods: the change of a weight matrix is a product of two thin ones."""
