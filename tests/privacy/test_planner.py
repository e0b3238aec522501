import pytest

from tff_vision.privacy import mechanism_comparison


@pytest.fixture(scope='module')
def rows():
  """3,400 clients, 100 a round, each client's ten turns 34 rounds apart, epsilon 8."""
  found = mechanism_comparison.compare(mechanism_comparison.Setting(population=3400, cohort_size=100, rounds=340,
                                                                    target_epsilon=8.0,
                                                                    delta=1e-5))
  return {row.mechanism: row for row in found}


@pytest.mark.parametrize('mechanism, rms', [('client_gaussian', 9.2), ('dp_mf banded, 34 bands', 6.30),
                                            ('dp_mf blt, 3 buffers', 6.69)])
def test_errors_of_the_reference_setting(rows, mechanism, rms):
  assert rows[mechanism].rms_error == pytest.approx(rms, rel=6e-3)


def test_order_and_advice(rows):
  errors = [row.rms_error for row in rows.values()]
  assert errors == sorted(errors)
  assert rows['dp_ftrl efficient'].rms_error < rows['dp_ftrl'].rms_error
  assert list(rows)[0].startswith('dp_mf amplified banded')
  assert mechanism_comparison.recommend(list(rows.values())).startswith('dp_mf blt')


def test_one_band_is_independent_noise():
  setting = mechanism_comparison.Setting(population=30, cohort_size=20, rounds=10, target_epsilon=1.0, delta=1e-2)
  independent, amplified = mechanism_comparison.independent(setting), mechanism_comparison.amplified(setting)
  assert amplified.mechanism == 'dp_mf amplified banded, 1 bands'
  assert amplified.rms_error == pytest.approx(independent.rms_error)
