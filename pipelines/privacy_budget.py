"""Answers how much noise, how many rounds, or which epsilon, before a run is started.

  python -m pipelines.privacy_budget --population=3383 --cohort_size=120 --rounds=100 --target_epsilon=2 --delta=1e-5
  python -m pipelines.privacy_budget --population=3383 --cohort_size=120 --rounds=100 --noise_multiplier=1.2
  python -m pipelines.privacy_budget --population=1569 --cohort_size=32 --rounds=980 --target_epsilon=3 --unit=example
  python -m pipelines.privacy_budget --population=3400 --cohort_size=100 --rounds=340 --target_epsilon=8 --compare

Two of --rounds, --noise_multiplier and --target_epsilon are given; the third is found. --compare prints the noise of
every client-level mechanism at the same budget.
"""

import json
import math
import pathlib

from absl import flags

from flags import study_flags
from pipelines import launch
from tff_vision import wording
from tff_vision.accounting.conditions import Relation, Unit
from tff_vision.program import whole_file

_JSON = flags.DEFINE_string('json', None, 'File that receives the answer; - means standard output, and only that.')
_PLOT = flags.DEFINE_string('plot', None, 'PNG file that receives the table as a plot.')
_COMPARE = flags.DEFINE_bool('compare', False, 'Compare the client-level mechanisms at this budget.')

_CHANGE = {Relation.ADD_OR_REMOVE_ONE: 'adding or removing one', Relation.REPLACE_ONE: 'replacing one',
           Relation.ZERO_OUT_ONE: 'zeroing out one'}


def main() -> None:
  budget = study_flags.privacy_budget()
  if _COMPARE.value:
    _compare(budget)
  else:
    _answer(budget)


def _answer(budget) -> None:
  if _PLOT.value is not None and not pathlib.Path(_PLOT.value).absolute().parent.is_dir():
    raise ValueError(f'plot={_PLOT.value!r}: there is no folder {str(pathlib.Path(_PLOT.value).parent)!r}.')
  # Numerical libraries are imported here, so that --help is fast.
  from tff_vision.privacy import budget_solver
  found = budget_solver.answer(budget)
  if _JSON.value == '-':
    print(json.dumps(found.to_dict(), indent=2))
    if _PLOT.value:
      _plot(found, budget_solver.table(found), _PLOT.value)
    return
  cells = budget_solver.table(found)
  print(_describe(found))
  print(_as_table(found, cells))
  if _JSON.value:
    whole_file.write(_JSON.value, json.dumps(found.to_dict(), indent=2) + '\n')
  if _PLOT.value:
    _plot(found, cells, _PLOT.value)


def _describe(found) -> str:
  run, records = found.releases, f'{found.unit}s'
  pld = ('not known for this sampling or delta' if found.epsilon_pld is None else
         wording.at_most(found.epsilon_pld, '.4f'))
  by_unit = found.epsilon_by_unit
  lines = [
      f'{wording.counted(run.rounds, "round")}, {run.cohort_size} of {run.population} {records} a round, '
      f'sampling {run.sampling}{run.sizes.describe()}, noise multiplier {run.noise_multiplier:.6g}', '',
      f'  epsilon (PLD)  {pld}', f'  epsilon (RDP)  {wording.at_most(found.epsilon_rdp, ".4f")}',
      f'  delta          {wording.at_most(found.delta, ".3g")}',
      f'  relation       {run.relation}: {_CHANGE[run.relation]} {found.unit}',
      '', '  unit      epsilon   against']
  if found.unit is Unit.CLIENT:
    lines += [f'  client    {wording.at_most(by_unit["client"], ".4f"):<9} {_CHANGE[run.relation]} client',
              f'  example   {wording.at_most(by_unit["example"], ".4f"):<9} any change of one client\'s examples, so '
              f'of one example{_unbounded(found)}']
  else:
    lines += ['  client    none      a client holds many examples; protect clients with --unit=client',
              f'  example   {wording.at_most(by_unit["example"], ".4f"):<9} {_CHANGE[run.relation]} example']
  if found.alternatives:
    from tff_vision.privacy import mechanism_comparison
    lines += ['', '  ' + mechanism_comparison.saved(run.noise_multiplier, **found.alternatives)]
  return '\n'.join([*lines, *_profile(found)])


def _unbounded(found) -> str:
  """Returns why one example has no bound although its client has one; empty if it has one."""
  by_unit = found.epsilon_by_unit
  if math.isfinite(by_unit['example']) or not math.isfinite(by_unit['client']):
    return ''
  return (': no bound is found, because such a change removes the client and adds another, for which delta is divided '
          'by 1 + exp(epsilon)')


def _profile(found) -> list[str]:
  """Returns the lines about the whole privacy curve, which one epsilon does not describe."""
  profile = found.profile
  if profile is None:
    return []
  lines = ['', '  delta at epsilon  ' + ', '.join(
      f'{wording.at_most(epsilon, ".3g")}: {wording.at_most(delta, ".2g")}'
      for epsilon, delta in zip(profile.epsilon[::20], profile.delta[::20], strict=True))]
  exact = 'exact' if profile.mu_exact else f'up to delta {profile.mu_slack:.2g}'
  lines.append(f'  mu (Gaussian)     {wording.at_most(profile.mu, ".4f")}, {exact}')
  for bound, unit in ((profile.true_positive_rate, found.unit),
                      (profile.true_positive_rate_example or {}, Unit.EXAMPLE)):
    lines += [f'  best attack       finds {wording.at_most(100 * power, ".3g")} % of '
              f'members at {100 * alarms:g} % false alarms, {unit} level' for alarms, power in bound.items()]
  return [*lines, *([f'  warning           {profile.warning}'] if profile.warning else [])]


def _as_table(found, cells) -> str:
  cohorts = list(dict.fromkeys(cohort for _, cohort, _ in cells))
  noises = list(dict.fromkeys(noise for noise, _, _ in cells))
  epsilons = {(noise, cohort): epsilon for noise, cohort, epsilon in cells}
  lines = ['', f'  epsilon (RDP) after {wording.counted(found.releases.rounds, "round")}, '
           'by noise multiplier and cohort size',
           '  noise     ' + ''.join(f'{cohort:>10}' for cohort in cohorts)]
  for noise in noises:
    lines.append(f'  {noise:<10.4g}' + ''.join(f'{wording.at_most(epsilons[noise, cohort]):>10}' for cohort in cohorts))
  return '\n'.join(lines)


def _plot(found, cells, path) -> None:
  import matplotlib
  matplotlib.use('Agg')
  from matplotlib import pyplot
  figure, axes = pyplot.subplots(figsize=(6, 4), layout='constrained')
  for cohort in dict.fromkeys(cohort for _, cohort, _ in cells):
    line = [(noise, epsilon) for noise, size, epsilon in cells if size == cohort]
    axes.loglog(*zip(*line, strict=True), marker='o', label=f'{cohort} {found.unit}s a round')
  axes.set_xlabel('noise multiplier')
  axes.set_ylabel(f'epsilon at delta = {wording.at_most(found.delta, ".2g")}')
  axes.set_title(f'{wording.counted(found.releases.rounds, "round")}, {found.releases.population} {found.unit}s, '
                 f'{found.releases.sampling} sampling')
  axes.grid(True, which='both', alpha=0.3)
  axes.legend()
  figure.savefig(path, dpi=120)


def _compare(budget) -> None:
  if _PLOT.value:
    raise ValueError(f'plot={_PLOT.value} has no effect with --compare.')
  if budget.target_epsilon is None or budget.rounds is None:
    raise ValueError('compare needs target_epsilon and rounds: it finds the noise of each mechanism.')
  if budget.unit != 'client':
    raise ValueError(f'compare covers mechanisms that protect clients, found unit={budget.unit!r}.')
  for name, given in (('sampling', budget.sampling != 'poisson'), ('plot', _PLOT.value is not None)):
    if given:
      raise ValueError(f'{name} has no effect with compare: each mechanism has its own cohorts, and a table.')
  import dataclasses

  from tff_vision.privacy import budget_solver, mechanism_comparison
  setting = mechanism_comparison.Setting(population=budget.population, cohort_size=budget.cohort_size,
                                         rounds=budget.rounds,
                                         target_epsilon=budget.target_epsilon, delta=budget.effective_delta,
                                         sizes=budget_solver.sizes_of(budget))
  rows = mechanism_comparison.compare(setting)
  if _JSON.value:
    text = json.dumps([dataclasses.asdict(row) for row in rows], indent=2)
    if _JSON.value == '-':
      print(text)
      return
    whole_file.write(_JSON.value, text + '\n')
  participation = setting.participation
  print(f'Noise in a prefix sum over the clip norm, at epsilon {setting.target_epsilon:g}, delta {setting.delta:.3g} '
        f'for one client;\n{setting.rounds} rounds, {setting.cohort_size} of {setting.population} clients a round; '
        f'min_separation {participation.min_separation}, at most {participation.max_participations} turns a client.\n')
  print(f'  {"mechanism":<36}{"rms":>9}{"max":>9}{"noise":>9}{"buffers":>9}  cohorts')
  for row in rows:
    print(f'  {row.mechanism:<36}{row.rms_error:>9.3f}{row.max_error:>9.3f}{row.noise_multiplier:>9.3f}'
          f'{row.buffers:>9}  {row.sampler}')
  if (saved := mechanism_comparison.savings(rows, setting)) is not None:
    print(f'\n{saved}')
  print(f'\nTake {mechanism_comparison.recommend(rows)}')


if __name__ == '__main__':
  launch.launch(main, flag_groups=study_flags.BUDGET, prints=('json',))
