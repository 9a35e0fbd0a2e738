"""Adapters: small networks between the layers of the base."""
