"""Measuring the engine's indexes on the machine that it runs on, beside FAISS and, where installed, other libraries.

``data`` draws collections, ``searcher`` says what can be measured, ``kinds`` and ``peers`` are what is, ``cells`` runs
each in a process of its own, ``measure`` times it in turns, ``report`` writes tables.
"""
