"""Runnable scripts: `python -m pipelines.NAME --help`. Where nothing is installed, each of them says what to type."""

import os
import pathlib
import sys

from tff_vision.diagnosis import environment

# This must be set before TensorFlow is imported anywhere: its C++ start-up messages do not help a user.
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

if environment.looks_bare():
  raise SystemExit(environment.refusal(
      environment.environment_findings(pathlib.Path(__file__).resolve().parents[1]), then='python -m pipelines.doctor',
      what=f'{sys.executable} cannot run a pipeline (`make train` sets up .venv/bin/python, which can)'))
