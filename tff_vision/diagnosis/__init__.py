"""Can this machine run the project? Small checks, each a function from plain facts to a `Finding`.

Nothing here imports TensorFlow. `finding`, `lock` and `machine` need only the standard library and also run on
Python 3.9, because they must report problems when packages are missing or wrong.
"""
