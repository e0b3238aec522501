import math

import pytest
import seal
import tenseal.sealapi
from hypothesis import given
from hypothesis import strategies as st

from tff_vision.secure import parameters


def test_primes_are_the_ones_that_seal_makes():
  made = [m.value() for m in seal.CoeffModulus.Create(parameters.DEGREE, [parameters.PRIME_BITS] * 4)]
  assert parameters.threshold_parameters(clients_max=3, value_bits=16).primes == tuple(made)


def test_modulus_limit_is_the_standard_s():
  level = tenseal.sealapi.SEC_LEVEL_TYPE.TC128
  assert tenseal.sealapi.CoeffModulus.MaxBitCount(parameters.DEGREE, level) == parameters.MAX_MODULUS_BITS


def test_three_hospitals_by_hand():
  params = parameters.threshold_parameters(clients_max=3, value_bits=16)
  assert (params.field_bits, params.values_per_coefficient, params.plain_bits) == (18, 3, 54)
  assert params.offset == 32767
  assert params.bytes_per_value == pytest.approx(32 / 3)
  assert params.key_modulus_bits == 108
  # Standard deviation of e1 + e2 * s - e * u with three shares, three ciphertexts summed.
  deviation = math.sqrt(3 * 10.5 * (1 + 4096 * (2 / 3) * 3 * 2))
  assert parameters.noise_bound(clients=3, key_shares=3) == pytest.approx(8 * deviation + 3)


@given(clients_max=st.integers(2, 5000), value_bits=st.integers(2, 22))
def test_every_choice_has_room_or_is_refused_with_what_to_change(clients_max, value_bits):
  for build, shares in ((parameters.threshold_parameters, clients_max), (parameters.key_holder_parameters, 1)):
    try:
      params = build(clients_max=clients_max, value_bits=value_bits)
    except ValueError as refusal:
      assert 'secure_bits' in str(refusal) and 'secure_clients_max' in str(refusal)
      continue
    assert clients_max * 2 * params.offset < 2**params.field_bits
    assert params.plain_bits == params.field_bits * params.values_per_coefficient <= 59
    noise = parameters.noise_bound(clients=clients_max, key_shares=shares)
    smudging = clients_max * 2**params.smudging_bits if shares > 1 else 0
    assert noise + smudging < params.modulus / 2**(params.plain_bits + 1)
    if shares > 1:
      assert 2**params.smudging_bits >= noise * 2**parameters.SMUDGING_MARGIN_BITS


@pytest.mark.parametrize('clients_max, value_bits, name', [
    (1, 16, 'secure_clients_max must be at least 2'), (3, 1, 'secure_bits must lie in'),
    (3, 23, 'secure_bits must lie in'), (10**9, 22, 'lower secure_bits')])
def test_refusals(clients_max, value_bits, name):
  with pytest.raises(ValueError, match=name):
    parameters.threshold_parameters(clients_max=clients_max, value_bits=value_bits)


def test_exact_arithmetic_has_room():
  """Scaled messages and smudged products stay whole numbers below 2**51 in float64."""
  params = parameters.threshold_parameters(clients_max=2, value_bits=parameters.MAX_VALUE_BITS)
  message = params.values_per_coefficient * 2**parameters.MAX_VALUE_BITS * 2**parameters.PRIME_BITS
  product = parameters.DEGREE * 2**parameters.PRIME_BITS
  assert max(message + product, 2**params.smudging_bits + product) < 2**51
