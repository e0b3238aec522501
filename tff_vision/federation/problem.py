"""What a federation learns: the model and the kind of images of its plan, checked for fit; no data is read."""

from tff_vision import objectives, tasks
from tff_vision.accounting import cohort_sizes
from tff_vision.aggregation import secured
from tff_vision.experiment import evaluations, planning
from tff_vision.federation import images
from tff_vision.federation import plan as plan_lib
from tff_vision.program import selection


def of(plan: plan_lib.Plan) -> tasks.Problem:
  """Returns the problem of a plan.

  Raises:
    ValueError: Model and images do not fit, the plan's privacy does not cover what the plan tells, the sites have too
      few clients for its cohorts, or no sum over them measures what chooses the best model.
  """
  config, found = plan.experiment(), images.of(plan)
  planning.check_told(config, found)
  cohort_sizes.check_cohort(secured.cohort_size_bounds(config.secure), size=config.cohort.cohort_size,
                            population=len(plan.clients), sampling=config.cohort.sampling)
  made = tasks.build_problem(config, found, objectives.build(config.task, found, config.data.normal_class))
  if config.program.select_best is not None:
    selection.of(config.program.select_best, config.program.patience, made.objective,
                 evaluations.tally_of(config, made.objective).measures)
  return made
