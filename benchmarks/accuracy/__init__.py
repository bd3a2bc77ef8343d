"""The papers' accuracy experiments on the zoo, and what goes beyond them: ``make accuracy``.

zoo.db + queries → features, encoded once → scores ``(queries, models)`` of every method → ranks → tables.
Methods are arrays in, arrays out; they agree with the engine's own scores (a test holds that).
"""
