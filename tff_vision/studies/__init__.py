"""Studies built on the library: each trains several models and compares them."""
