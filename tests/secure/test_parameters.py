import math

import pytest
import seal
import tenseal.sealapi
from hypothesis import given, settings
from hypothesis import strategies as st

from tff_vision.secure.encryption import parameters

CNN = {'length': 1_200_000, 'rounds': 100}


def test_primes_are_the_ones_that_seal_makes():
  for degree, count in ((4096, 4), (8192, 8)):
    made = [m.value() for m in seal.CoeffModulus.Create(degree, [parameters.PRIME_BITS] * count)]
    assert parameters._ntt_primes(count, degree) == tuple(made)


def test_modulus_limits_are_the_standard_s():
  level = tenseal.sealapi.SEC_LEVEL_TYPE.TC128
  for degree, limit in parameters.MAX_MODULUS_BITS.items():
    assert tenseal.sealapi.CoeffModulus.MaxBitCount(degree, level) == limit


def test_three_hospitals_by_hand():
  params = parameters.threshold_parameters(clients_max=3, value_bits=16, **CNN)
  assert (params.degree, len(params.primes), params.key_modulus_bits) == (8192, 8, 216)
  assert (params.field_bits, params.values_per_coefficient, params.plain_bits) == (18, 7, 126)
  assert params.offset == 32767
  assert params.bytes_per_value == pytest.approx(64 / 7)
  # Standard deviation of e1 + e2 * s - e * u with three shares, three ciphertexts summed.
  deviation = math.sqrt(3 * 10.5 * (1 + 8192 * (2 / 3) * 3 * 2))
  assert parameters.noise_bound(clients=3, key_shares=3, degree=8192) == pytest.approx(8 * deviation + 3)
  # 1.2 M values are 21 polynomials of 7 * 8192, in 7 chunks of 3: 4 have room in the cache. Four times 100 openings.
  assert params.chunks(1_200_000) == (7, 3)
  distance = 400 * 21 * 8192 * (deviation + 3) / 2**(params.smudging_bits + 1)
  bits = parameters.decryption_bits(params, length=1_200_000, openings=parameters.openings_of(100))
  assert bits == pytest.approx(-math.log2(distance)) and 40 <= bits


@pytest.mark.parametrize('length, rounds', [(54_000, 100), (1_200_000, 100), (1_200_000, 1000), (11_000_000, 200)])
def test_ordinary_runs_keep_the_statistical_bar_within_sixteen_bytes(length, rounds):
  for clients_max in (3, 8, 16, 50, 100):
    params = parameters.threshold_parameters(clients_max=clients_max, value_bits=16, length=length, rounds=rounds)
    assert parameters.decryption_bits(params, length=length, openings=4 * rounds) >= 40
    assert params.ciphertext_bytes(length) / length <= (16 if length > 54_000 else 17.1)  # Of one, the last is padding.


@settings(max_examples=40, deadline=None)
@given(clients_max=st.integers(2, 5000), value_bits=st.integers(2, 22), length=st.integers(1, 20_000_000),
       rounds=st.integers(1, 10**5), bits=st.integers(1, 80))
def test_every_choice_has_room_or_is_refused_with_what_to_change(clients_max, value_bits, length, rounds, bits):
  joint = lambda **given: parameters.threshold_parameters(length=length, rounds=rounds, statistical_bits=bits, **given)
  for build, shares in ((joint, clients_max), (parameters.key_holder_parameters, 1)):
    try:
      params = build(clients_max=clients_max, value_bits=value_bits)
    except ValueError as refusal:
      assert 'lower secure_bits or secure_clients_max' in str(refusal)
      continue
    assert clients_max * 2 * params.offset < 2**params.field_bits
    assert params.plain_bits == params.field_bits * params.values_per_coefficient
    noise = parameters.noise_bound(clients=clients_max, key_shares=shares, degree=params.degree)
    smudging = clients_max * 2**params.smudging_bits if shares > 1 else 0
    assert noise + smudging < params.modulus / 2**(params.plain_bits + 1)
    assert params.key_modulus_bits <= {4096: 109, 8192: 218}[params.degree]
    if shares > 1:
      chunks, size = params.chunks(length)
      assert chunks * size * params.values_per_coefficient * params.degree >= length
      distance = 4 * rounds * chunks * size * params.degree * noise / 8 / 2**(params.smudging_bits + 1)
      assert distance <= 2.0**-bits
    else:
      assert params.plain_bits <= 59


@pytest.mark.parametrize('clients_max, value_bits, name', [
    (1, 16, 'secure_clients_max must be at least 2'), (3, 1, 'secure_bits must lie in'),
    (3, 23, 'secure_bits must lie in'), (10**9, 22, 'lower secure_bits')])
def test_refusals(clients_max, value_bits, name):
  with pytest.raises(ValueError, match=name):
    parameters.threshold_parameters(clients_max=clients_max, value_bits=value_bits, **CNN)


def test_a_bar_out_of_reach_is_refused_and_a_lower_one_is_not():
  with pytest.raises(ValueError, match='secure_statistical_bits=170 over 100 rounds of 1200000 values'):
    parameters.threshold_parameters(clients_max=3, value_bits=16, statistical_bits=170, **CNN)
  low = parameters.threshold_parameters(clients_max=3, value_bits=16, statistical_bits=1, **CNN)
  assert 1 <= parameters.decryption_bits(low, length=1_200_000, openings=400)
  assert low.ciphertext_bytes(1_200_000) < parameters.threshold_parameters(
      clients_max=3, value_bits=16, **CNN).ciphertext_bytes(1_200_000)


def test_exact_arithmetic_has_room():
  """Scaled messages and smudged products stay whole numbers below 2**51 in float64."""
  params = parameters.threshold_parameters(clients_max=2, value_bits=parameters.MAX_VALUE_BITS, **CNN)
  message = params.values_per_coefficient * 2**parameters.MAX_VALUE_BITS * 2**(parameters.PRIME_BITS - 1)
  product = params.degree * 2**parameters.PRIME_BITS
  assert message + product < 2**51 and 2 * (product + 2**32) < 2**50
