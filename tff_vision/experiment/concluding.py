"""The end of a run: the exported model, the report, and what of both may be told."""

import functools
from collections.abc import Mapping
from typing import Any

from tff_vision import assembly, configs, tasks
from tff_vision.aggregation import secured
from tff_vision.audit import run_audit
from tff_vision.experiment import definition
from tff_vision.experiment import evaluations as evaluations_lib
from tff_vision.export import keras_export, model_card
from tff_vision.learning import evaluation
from tff_vision.objectives import anomaly
from tff_vision.privacy import plan as plan_lib
from tff_vision.program import health, json_file, loop, released, round_record, run_directory
from tff_vision.report import anomalies, attack_report, contribution, detections, mask_figures, origin, page
from tff_vision.report import content as content_lib


def conclude(made: definition.Definition, launch: configs.LaunchConfig, directory: run_directory.RunDirectory,
             outcome: loop.Outcome, *, clock: content_lib.Clock, place: Any, task: tasks.Task,
             plan: plan_lib.PrivacyPlan, evaluator: evaluation.Evaluator, secure_sum: Mapping[str, Any],
             client_traffic: round_record.Traffic, audit: run_audit.RunAudit | None, program: configs.ProgramConfig,
             evaluations: evaluations_lib.Evaluations, past: plan_lib.Past, budget: Mapping[str, Any] | None
             ) -> Mapping[str, Any]:
  """Exports the model, writes the report, and wipes what the privacy guarantee requires to be wiped.

  Returns the content of report.json.

  Args:
    place: The open runtime.
    plan: The privacy plan, charged with the whole run.
    audit: The audit of the run by its canaries; None: there are no canaries.
    program: The program, with the number of rounds that the budget allows.
    evaluations: Those on examples that the clients have.
    past: The history of the run, in which a round may have been evaluated more than once.
    budget: The totals of the budget over several runs; None: there is no such budget.
  """
  config = made.config
  personal = outcome.personal or assembly.personalize(config, task, made.runtime, place, outcome.weights, evaluator)
  with clock.exporting():
    parity = keras_export.export(task, outcome.weights, directory.export, evaluator)
  content = content_lib.build_report(config, task=task, plan=plan, outcome=outcome, evaluator=evaluator, clock=clock,
                                     parity=parity, worker_pids=place.pids)
  content |= {'origin': origin.describe(launch.run_dir or directory.path, clock.date),
              'personal': personal, 'secure_sum': secure_sum,
              'warnings': health.warnings(outcome.history, content['evaluation'], task.images.test.examples, config),
              'traffic': content_lib.traffic(outcome.history, client_traffic),
              **detections.sections(task, evaluator, sizes=launch.show_training_data or not config.promises)}
  if outcome.best_round is not None:
    content['selection'] = {'metric': config.program.select_best, 'round': outcome.best_round,
                            'stopped_early': len(outcome.history) < program.rounds}
  if evaluations.test is not None:
    found = evaluations.test(outcome.weights, program.rounds + 1)
    content |= {'evaluation': found['evaluation'], 'federated': found}
    content['dataset'] |= {'num_test_examples': found['examples']}
  if evaluations.cost is not None:
    content['evaluation_privacy'] = evaluations.ledger(
        len(outcome.history), past, getattr(plan, 'delta', 0.0)).to_json(curve=False)
  if audit is not None:
    audit.report_into(content, plan, functools.partial(
        secured.check_run, config.secure, rounds=program.rounds, run_dir=directory.path))
  if budget is not None:
    content['budget_file'] = budget
  if config.aggregation.contribution != 'none':
    content['contribution'] = contribution.section(
        outcome.history, task.images.train.client_ids, config.aggregation.contribution_metric or task.objective.metric)
  if config.attack.attack != 'none':
    content['attack'] = attack_report.describe(config.attack, task, evaluator)
  content = released.report(content, config, plan, show_training_data=launch.show_training_data)
  shown = anomalies.worst(task, evaluator) if isinstance(task.objective, anomaly.Anomaly) else ()
  model_card.write(directory.path, model_card.describe(content, task, evaluator, {}))
  page.write_html(directory.report_html, content, task.images, anomalies=shown, pictures={
      **mask_figures.of_page(content, task, evaluator), **detections.of_page(content, task, evaluator)})
  json_file.write(directory.report_json, content)
  if launch.json is not None:
    json_file.write(launch.json, content)
  if config.promises and not launch.keep_secrets:
    directory.wipe()
  return content
