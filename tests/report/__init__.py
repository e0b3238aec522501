"""Pages: their charts, tables and look in a browser."""
