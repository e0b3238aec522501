"""Where a model is wrong: numbers from its answers on a test set, as plain data for report.json; no TensorFlow."""
