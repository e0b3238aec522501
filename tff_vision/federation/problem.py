"""What a federation learns: the model and the kind of images of its plan, checked for fit; no data is read."""

from tff_vision import objectives, tasks
from tff_vision.experiment import planning
from tff_vision.federation import images
from tff_vision.federation import plan as plan_lib


def of(plan: plan_lib.Plan) -> tasks.Problem:
  """Returns the problem of a plan.

  Raises:
    ValueError: Model and images do not fit, or the plan's privacy does not cover what the plan tells.
  """
  config, found = plan.experiment(), images.of(plan)
  planning.check_told(config, found)
  return tasks.build_problem(config, found, objectives.build(config.task, found, config.data.normal_class))
