"""Federated training of vision models with TensorFlow Federated."""
