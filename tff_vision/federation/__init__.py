"""A federation of institutions that do not share data: its plan, and what each side does with it."""
