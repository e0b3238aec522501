"""Runnable scripts: `python -m pipelines.NAME --help`. Where nothing is installed, each of them says what to type."""

import pathlib
import sys

from tff_vision.diagnosis import environment

if environment.looks_bare():
  _ROOT = pathlib.Path(__file__).resolve().parents[1]
  raise SystemExit(environment.refusal(
      environment.environment_findings(_ROOT), then='python -m pipelines.doctor',
      what=f'{sys.executable} cannot run a pipeline (`make train` sets up .venv/bin/python, which can)'))
