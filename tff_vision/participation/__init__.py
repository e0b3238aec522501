"""Which clients take part in a round, and what becomes of them."""
