"""What each observer makes of releases that are written down here."""

import numpy as np
import pytest

from tff_vision.audit import float_lattice, launch_audit, observed, observers
from tff_vision.privacy.noise import integer_grid


def release(round_num, shift, **more):
  return observed.Release(round_num=round_num, shift=np.asarray(shift, float), scaled=True, clients=4, **more)


def setting(turns=lambda round_num: np.ones(4, bool), rate=1.0, noise=1.0, **more):
  return observers.Setting(turns=turns, rate=rate, noise=noise, client_of=np.arange(4), **more)


def test_models_are_the_likelihood_ratio_with_public_and_with_hidden_attendance():
  rows = [release(1, [1.2, 0.1, -0.5, 0.8]), release(2, [0.9, 0.2, 0.3, -0.4])]
  y = np.array([row.shift for row in rows])
  ratio = np.exp(-(y - 1) ** 2 / (2 * 0.5 ** 2)) / np.exp(-y ** 2 / (2 * 0.5 ** 2))
  np.testing.assert_allclose(observers.models(setting(noise=0.5), rows), np.log(ratio).sum(0))
  np.testing.assert_allclose(observers.models(setting(noise=0.5, rate=0.3), rows), np.log(0.7 + 0.3 * ratio).sum(0))
  only = lambda round_num: np.array([True, False, round_num == 2, False])
  np.testing.assert_allclose(observers.models(setting(noise=0.5, turns=only), rows),
                             [np.log(ratio[:, 0]).sum(), 0, np.log(ratio[1, 2]), 0])


def test_correlated_noise_is_whitened():
  c, rounds = np.array([1.0, 0.5, 0.25]), 3
  matrix = np.array([[c[i - j] if i >= j else 0 for j in range(rounds)] for i in range(rounds)])
  y = np.random.default_rng(0).normal(size=(rounds, 4))
  found = observers.models(setting(noise=2.0, coefficients=tuple(c), turns=lambda number: np.arange(4) == number - 1),
                           [release(number, row) for number, row in enumerate(y, 1)])
  white = matrix @ y  # Normal with deviation 2 about the column of the canary's turn, or about zero.
  for canary in range(3):
    column = matrix[:, canary]
    expected = (((white[:, canary]) ** 2).sum() - ((white[:, canary] - column) ** 2).sum()) / (2 * 4.0)
    assert found[canary] == pytest.approx(expected)
  assert found[3] == 0


def test_numbers_told_are_solved_for_the_coins_and_need_public_cohorts():
  coins, rng = np.array([1, 0, 0, 1]), np.random.default_rng(1)
  cohorts = {number: rng.random(4) < 0.5 for number in range(30)}
  rows = [release(number, np.zeros(4), told=float(there @ coins)) for number, there in cohorts.items()]
  found = observers.told(setting(turns=cohorts.get), rows)
  assert ((found > 0) == coins.astype(bool)).all()
  assert observers.told(setting(turns=cohorts.get, rate=0.5), rows) is None
  assert observers.told(setting(), [release(1, np.zeros(4))]) is None


def test_repeats_answers_and_grid_speak_only_where_there_is_something():
  rows = [release(1, [0.2, 0.1, 0, 0]), release(2, [0.5, 1, 2, 3]), release(2, [0.5, 1, 1, 3])]
  np.testing.assert_allclose(observers.repeats(setting(), rows), [0, 0, 1, 0])
  assert observers.repeats(setting(), rows[:2]) is None and observers.answers(setting(), rows) is None
  assert observers.grid(setting(), rows) is None
  heard = [release(0, [5, 1, -1, 7], members=(0, 1, 2))]
  assert observers.answers(setting(), heard)[3] == 0 < observers.answers(setting(), heard)[0]
  assert observers.models(setting(), heard) is None
  seen = [release(1, np.zeros(4), contradictions=np.array([3.0, 0, -3, 0]))]
  assert observers.grid(setting(), seen)[0] > observers.grid(setting(), seen)[1] > observers.grid(setting(), seen)[2]


def test_releases_outlive_a_line_that_was_torn_off(tmp_path):
  path = tmp_path / 'canaries.jsonl'
  log = observed.Observed(path)
  assert log.releases() == []
  log.add(release(1, [1, 2, 3, 4], told=3.0))
  with open(path, 'a') as file:
    file.write('{"round_num": 2, "shif')
  log.add(release(3, [4, 3, 2, 1], contradictions=np.arange(4.0), members=(1, 2)))
  first, last = log.releases()
  np.testing.assert_array_equal(last.shift, [4, 3, 2, 1])
  assert (first.told, last.members, last.round_num) == (3.0, (1, 2), 3) and path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(('sigma', 'tells'), [(1.0, False), (13.0, True)])
def test_float32_noise_contradicts_the_absence_of_who_is_there_and_true_noise_nobody(sigma, tells):
  rng, size, number, clip, denominator = np.random.default_rng(5), 6000, 30, 0.5, 10.0
  coins = rng.random(number) < 0.5
  others = rng.integers(-2**14, 2**14, size).astype(float)
  total = others + float_lattice.contribution(coins.astype(float), size)
  z = rng.normal(size=size)
  old = rng.normal(0, 0.05, size).astype(np.float32)
  def seen(noise):
    mean = ((total + noise) * (np.float64(np.float32(clip)) / integer_grid.STEPS) / denominator).astype(np.float32)
    found = float_lattice.released([old], [old - mean], clip_norm=clip, denominator=denominator, learning_rate=1.0)
    center = found.center[found.known]
    assert np.abs(center - (total + noise)[found.known]).max() <= 4 and found.known.mean() > 0.3
    return float_lattice.contradictions(found, others, number, sigma=sigma * integer_grid.STEPS)
  float32 = seen(np.rint(sigma * z.astype(np.float32).astype(np.float64) * integer_grid.STEPS))
  if tells:
    assert float32[coins].min() > 0 > float32[~coins].max(), 'certain, from one release'
  else:
    assert not float32.any(), 'every integer is taken'
  true = seen(np.rint(sigma * z * integer_grid.STEPS))
  assert abs(true[coins].mean() - true[~coins].mean()) <= 4 * (true.std() + 0.01) / np.sqrt(number / 4)


def test_launches_that_end_alike_say_nothing_and_others_do():
  import dataclasses

  from tff_vision.participation import cohort_sampling

  @dataclasses.dataclass(frozen=True)
  class Plan:
    sampler: cohort_sampling.PoissonCohort

  plan = Plan(cohort_sampling.PoissonCohort(population=9, rate=0.9, seed=0, secret=b's' * 32))
  assert launch_audit.play(plan, 1, 8, lambda plan: None) is None

  def refuse(plan):
    if (size := len(plan.sampler(1))) == 1:
      raise ValueError(f'round 1 has {size} client')

  scores, coins = launch_audit.play(plan, 1, 8, refuse)
  # One real client: alone it is refused in 0.9 of launches, with a canary in 0.18.
  assert scores[coins].mean() > scores[~coins].mean() + 1 and len(scores) == launch_audit.LAUNCHES
  assert launch_audit.play(dataclasses.replace(plan, sampler=lambda number: []), 1, 8, refuse) is None
