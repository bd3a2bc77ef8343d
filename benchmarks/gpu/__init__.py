"""What runs on a machine with one GPU, within eight minutes: its tests, searches and densities. See ``run``.

Everything but ``run``'s full mode needs NumPy and torch alone: such a machine may have neither a network nor FAISS.
"""
