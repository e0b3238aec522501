"""A key holder's service: two gRPC calls over mutual TLS, for one certificate name.

`PublicKey` returns the public key, and what is signed about it. `Open` takes a stream, first what the sites signed and
then their ciphertexts, and returns the sum. The secret key is in no message. Every call is in the desk's log.
"""

import contextlib
import logging
import pathlib
from collections.abc import Iterator

import grpc

from tff_vision.federation import key_desk
from tff_vision.runtime import key_calls, messages, serving
from tff_vision.runtime.worker import tls
from tff_vision.runtime.worker.guard import rules

_THREADS = 4
_log = logging.getLogger(__name__)


class Service:
  """Serves one desk."""

  def __init__(self, desk: key_desk.Desk):
    self._desk = desk
    self._public_key = desk.public_key.astype('<i4').tobytes()

  @contextlib.contextmanager
  def served(self, address: str, files: tls.TlsFiles, client_name: str) -> Iterator[int]:
    """Serves at host:port while the context is open; yields the port, which is chosen for port 0.

    Args:
      files: This side's; `ca` is the authority that signed the certificate of whoever may call.
      client_name: The common name in that certificate.

    Raises:
      ValueError: A file or the address cannot be used.
    """
    files.check('tls_client_ca')
    credentials = grpc.ssl_server_credentials(
        [(pathlib.Path(files.key).read_bytes(), pathlib.Path(files.cert).read_bytes())],
        pathlib.Path(files.ca).read_bytes(), require_client_auth=True)

    def only(handle):
      return lambda request, context: self._handled(handle, request, context, client_name)

    handlers = grpc.method_handlers_generic_handler(key_calls.SERVICE, {
        key_calls.PUBLIC_KEY: grpc.unary_unary_rpc_method_handler(only(self._give_key)),
        key_calls.OPEN: grpc.stream_unary_rpc_method_handler(only(self._open))})
    with serving.served(address, lambda server: server.add_generic_rpc_handlers((handlers,)), threads=_THREADS,
                        name='the key holder', credentials=credentials) as port:
      yield port

  def _give_key(self, request):
    del request
    return messages.encode({'stated': self._desk.stated_key(), 'public_key': self._public_key})

  def _open(self, came):
    with self._desk.noted():
      asked = key_calls.asked(next(came, b''))
    total = self._desk.open(*asked, came)
    _log.info('opened: %d so far', self._desk.opened)
    return total.astype('<i8').tobytes()

  def _handled(self, handle, request, context, client_name):
    code = grpc.StatusCode.PERMISSION_DENIED
    try:
      if (names := context.auth_context().get('x509_common_name')) != [client_name.encode()]:
        code = grpc.StatusCode.UNAUTHENTICATED
        with self._desk.noted():
          raise rules.Refused(f'it serves the certificate name {client_name} only, and {names!r:.80} called.')
      return handle(request)
    except rules.Refused as refused:
      _log.warning('refused: %s', refused)
      context.abort(code, f'refused: the key holder: {refused}')
    except OSError as error:
      context.abort(code, f'refused: the key holder: its audit log cannot be written ({error.strerror}), and without '
                    'it nothing is opened.')
