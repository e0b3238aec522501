"""The metrics of a report, as its objective declares them: report.json names the task, or holds its declaration."""

from collections.abc import Mapping, Sequence
from typing import Any

from tff_vision import objectives
from tff_vision.objectives import metric as metric_lib

Metric = metric_lib.Metric
# For older reports that do not name the task: the metrics of all tasks.
_ANY = metric_lib.first_of_each([one for metrics in objectives.METRICS.values() for one in metrics])
LOSS = metric_lib.LOSS.name
USUAL = objectives.classification.LEADING  # Also for such older reports.
_OF_SHARES = ('accuracy', '_rate')


def section(objective: objectives.Objective) -> dict[str, Any]:
  """Returns the section `task` of a report: the full declaration unless it is that of a built-in task."""
  found: dict[str, Any] = {'name': objective.task, 'metric': objective.metric}
  declared = metric_lib.of(objective)
  if declared != objectives.METRICS.get(objective.task):
    found['metrics'] = [vars(one) for one in declared]
  return found


def of(report: Mapping[str, Any]) -> Sequence[Metric]:
  """Returns a report's metrics, in the order of their priority for choosing runs."""
  task = report.get('task') or {}
  if 'metrics' in task:
    return tuple(Metric(**one) for one in task['metrics'])
  return objectives.METRICS.get(task.get('name'), _ANY)


def has_findings(report: Mapping[str, Any]) -> bool:
  """Returns whether an image of the run has any number of findings and not one class."""
  return 'auc_by_finding' in (report.get('evaluation') or {})


def leading(report: Mapping[str, Any]) -> Metric:
  """Returns the first metric: that of the objective, else the first measured metric that is not a loss.

  Of findings it is AUC: most findings are rare, so that accuracy is high for a model that finds nothing.
  """
  evaluation = report.get('evaluation') or {}
  if has_findings(report) and metric_lib.AUC.name in evaluation and (report.get('task') or {}).get(
      'metric') in (None, USUAL):
    return metric_lib.AUC
  name = (report.get('task') or {}).get('metric')
  if name is None or name not in evaluation:
    names = [key for key, value in evaluation.items()
             if key != LOSS and isinstance(value, int | float) and not isinstance(value, bool)]
    name = USUAL if USUAL in names or not names else names[0]
  return named(name, report)


def spread(report: Mapping[str, Any]) -> Metric:
  """Returns the metric whose spread over the training clients is in a report; of findings it is not the leading one."""
  return named(str((report.get('per_client') or {}).get('metric', USUAL)), report)


def named(name: str, report: Mapping[str, Any] | None = None) -> Metric:
  """Returns the metric of that name; a number that no objective declares, such as a count, is described by its name."""
  known = {one.name: one for one in (*_ANY, *of(report or {}))}
  shares = any(part in name for part in _OF_SHARES) and 'learning' not in name
  return known.get(name) or Metric(name=name, percent=shares)


def choosing(report: Mapping[str, Any]) -> Metric | None:
  """Returns the metric used to choose among similar runs; None if nothing was measured."""
  return metric_lib.choosing(of(report), [report.get('evaluation') or {}])


def compared(reports: Sequence[Mapping[str, Any]]) -> list[Metric]:
  """Returns the metrics by which runs are compared, the leading ones first."""
  firsts = {leading(report).name for report in reports}
  found = {one.name: one for report in reports for one in of(report) if not one.detail}
  return sorted(found.values(), key=lambda one: (one.name not in firsts, one.name == LOSS))
