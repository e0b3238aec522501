"""The coordinator's connection to a key holder that is a service of its own."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import grpc
import numpy as np

from tff_vision.runtime import key_calls, messages
from tff_vision.runtime.driver import stub
from tff_vision.runtime.worker import tls

_PIECE_OF_TIME = 3.0
_NUMBER_BYTES = 8


class AsksKeyHolder:
  """A place from which a key holder can be asked. Attributes: `open_key_holder`: connects; None: no certificates."""
  open_key_holder: 'Callable[[str], KeyHolderConnection] | None' = None

  def key_holder(self, address: str) -> Any:
    """Returns the key holder at host:port; raises ValueError: it does not answer, or would not serve us."""
    if self.open_key_holder is None:
      raise ValueError(f'key_holder={address} needs tls_ca, tls_cert and tls_key: it serves one certificate only.')
    return self.open_key_holder(address)


class KeyHolderConnection:
  """Asks one key holder; the coordinator knows nothing of the secret key.

  Attributes:
    stated: What the key holder signed about its public key, for the sites.
    public_key: The bytes of [2, primes, degree] int32.
  """

  def __init__(self, address: str, files: tls.TlsFiles, *, timeout: float, call_timeout: float):
    """Connects and fetches the public key. Args: `timeout`: seconds to wait for an answer.

    Raises:
      TlsRefused: One side does not accept the other's certificate.
      ValueError: It does not answer, or not as a key holder.
    """
    self._address = address
    self._call_timeout = call_timeout
    self._channel = tls.open_channel(address, files)
    ask = self._channel.unary_unary(f'/{key_calls.SERVICE}/{key_calls.PUBLIC_KEY}')
    try:
      found = messages.decode(ask(b'', timeout=timeout, wait_for_ready=True))
      self.stated = messages.part(found, 'stated', dict)
      self.public_key = messages.part(found, 'public_key', bytes)
    except grpc.RpcError as error:
      self.close()
      reason = tls.check(address, files, _PIECE_OF_TIME) if error.code() is not grpc.StatusCode.UNAUTHENTICATED else ''
      raise ValueError(f'key_holder={address} does not answer: {reason or error.details()}') from None
    except ValueError:
      self.close()
      raise ValueError(f'key_holder={address} does not answer as a key holder.') from None

  def open(self, run: str, attempt: int, stated: Sequence[Any], ciphertexts: Iterable[np.ndarray]) -> np.ndarray:
    """Returns the opened sum: the coefficients of all polynomials, one after the other, int64.

    Args:
      run, attempt: What the sites signed it for.
      stated: What they signed about their ciphertexts.
      ciphertexts: Those of each site in turn.

    Raises:
      RefusedByWorker: With the key holder's reason.
      WorkerLost: It does not answer; it may have opened the sum.
    """
    sent = itertools.chain([key_calls.asking(run, attempt, list(stated))],
                           (np.ascontiguousarray(one, '<i4').tobytes() for one in ciphertexts))
    call = self._channel.stream_unary(f'/{key_calls.SERVICE}/{key_calls.OPEN}')
    try:
      answer = call(sent, timeout=self._call_timeout, wait_for_ready=True)
    except grpc.RpcError as error:
      if error.code() is grpc.StatusCode.PERMISSION_DENIED:
        raise stub.RefusedByWorker(error.details().removeprefix('refused: ')) from None
      raise stub.WorkerLost(f'key_holder={self._address}: {error.code().name}: {error.details()}',
                            party=f'key_holder={self._address}') from None
    if len(answer) % _NUMBER_BYTES:
      raise stub.RefusedByWorker(f'key_holder={self._address} answers with something else than a sum.')
    return np.frombuffer(answer, '<i8')

  def close(self) -> None:
    self._channel.close()
