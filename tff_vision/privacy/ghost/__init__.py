"""Clipped sums of per-example gradients for Keras models, without materialising the gradients."""
