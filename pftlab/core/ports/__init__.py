"""The six ways in which a method reaches a pretrained network, a room for each.

    module      rewrites what a module returns or reads: h ← delta(x, h)
    attention   rewrites the keys and values of one attention
    sequence    puts vectors among the embedded words
    weight      changes a parameter while its module computes
    parameters  opens the base's own parameters for training
    steps       acts between the steps of training

The first four plant deltas: see `pftlab.core.planting`.
"""
