"""Runnable scripts: `python -m pipelines.NAME --help`."""

import os

# Before TensorFlow is imported anywhere: its C++ start-up messages are no news to a user.
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
