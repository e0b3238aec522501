"""The messages of a key holder's service, for both of its sides; see `federation.key_service`."""

from typing import Any

from tff_vision.runtime import messages

SERVICE, PUBLIC_KEY, OPEN = 'tff_vision.KeyHolder', 'PublicKey', 'Open'
# The name of the key holder among those who sign.
PARTY = 'the key holder'
PROTOCOL, KEY_PHASE = 'he_keyholder', 'public key'


def asking(run: str, attempt: int, stated: list[Any]) -> bytes:
  """Returns the first message of `Open`.

  Args:
    run, attempt: As in `guard.signing.Header`.
    stated: What the sites signed about their ciphertexts, which follow in this order, one a message.
  """
  return messages.encode({'run': run, 'attempt': attempt, 'stated': stated})


def asked(raw: bytes) -> tuple[str, int, list[Any]]:
  """Returns what `asking` was given.

  Raises:
    ValueError: It is something else.
  """
  content = messages.decode(raw)
  return (messages.part(content, 'run', str), messages.part(content, 'attempt', int),
          messages.part(content, 'stated', list))
