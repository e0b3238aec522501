"""Matrix-factorisation mechanisms: correlated noise for prefix sums, one Gaussian mechanism for a whole run."""
