"""The ports: the ways in which a method takes part in a model and its training, a room for each."""
