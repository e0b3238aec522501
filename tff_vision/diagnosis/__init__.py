"""Can this machine run the project? Small checks, each a function from plain facts to a `Finding`.

Nothing here imports TensorFlow, and `finding`, `lock` and `machine` need the standard library only and run on
Python 3.9 too: they must still speak where nothing, or the wrong thing, is installed.
"""
