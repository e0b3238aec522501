"""Sums of ciphertexts: additive BFV with one key holder, or with a key that clients hold together."""
