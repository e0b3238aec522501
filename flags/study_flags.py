"""Flags of single pipelines that have a config of their own: hospitals, control, privacy_budget."""

from flags import groups
from tff_vision.privacy import budget_question
from tff_vision.studies.control import control_config
from tff_vision.studies.hospitals import study_config

HOSPITALS = groups.of(study_config.StudyConfig, 'Comparison of hospitals')
CONTROL = groups.of(control_config.ControlConfig, 'Environments')
BUDGET = groups.of(budget_question.Budget, 'Budget')


def study() -> study_config.StudyConfig:
  """Returns the comparison that the flags describe.

  Raises:
    ValueError: A value is illegal.
  """
  return groups.read(study_config.StudyConfig())


def privacy_budget() -> budget_question.Budget:
  """Returns the question that the command line asks.

  Raises:
    ValueError: The question is not legal.
  """
  return groups.made(budget_question.Budget)
