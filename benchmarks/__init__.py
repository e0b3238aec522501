"""Scripts behind the numbers that the documentation claims; each prints JSON with the machine and the commit."""
