"""TFF's executor service, in Python, on the devices that TensorFlow sees: what `worker_binary` is for processors."""
