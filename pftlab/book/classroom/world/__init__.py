"""What runs on the other side of the wall, in the process of an answer.

This folder is all of PFT Lab that an answer can see: it imports nothing of the package, so that
neither the checks, nor the methods, nor anything else that knows a right value has to be there.
"""
