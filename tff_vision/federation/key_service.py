"""A key holder's service: two gRPC calls over mutual TLS, for one certificate name.

`PublicKey` returns the public key, and what is signed about it. `Open` takes a stream, first what the sites signed and
then their ciphertexts, and returns the sum. The secret key is in no message.
"""

import contextlib
import logging
import pathlib
from collections.abc import Iterator

import grpc

from tff_vision.federation import key_desk
from tff_vision.runtime import key_calls, messages, serving
from tff_vision.runtime.worker import tls

_THREADS = 4
_log = logging.getLogger(__name__)


class Service:
  """Serves one desk."""

  def __init__(self, desk: key_desk.Desk):
    self._desk = desk
    self._key = messages.encode({'stated': desk.stated_key(),
                                 'public_key': desk.public_key.astype('<i4').tobytes()})

  @contextlib.contextmanager
  def served(self, address: str, files: tls.TlsFiles, client_name: str) -> Iterator[int]:
    """Serves at host:port while the context is open; yields the port, which is chosen for port 0.

    Args:
      files: This side's; `ca` is the authority that signed the certificate of whoever may call.
      client_name: The common name in that certificate.

    Raises:
      ValueError: A file or the address cannot be used.
    """
    files.client_context()  # Says in a sentence what is wrong with the files.
    credentials = grpc.ssl_server_credentials(
        [(pathlib.Path(files.key).read_bytes(), pathlib.Path(files.cert).read_bytes())],
        pathlib.Path(files.ca).read_bytes(), require_client_auth=True)

    def only(handle):
      def handled(request, context):
        if context.auth_context().get('x509_common_name') != [client_name.encode()]:
          context.abort(grpc.StatusCode.UNAUTHENTICATED, f'this key holder serves the certificate name {client_name} '
                        'only.')
        return handle(request, context)
      return handled

    handlers = grpc.method_handlers_generic_handler(key_calls.SERVICE, {
        key_calls.PUBLIC_KEY: grpc.unary_unary_rpc_method_handler(only(lambda request, context: self._key)),
        key_calls.OPEN: grpc.stream_unary_rpc_method_handler(only(self._open))})
    with serving.served(address, lambda server: server.add_generic_rpc_handlers((handlers,)), threads=_THREADS,
                        name='the key holder', credentials=credentials) as port:
      yield port

  def _open(self, came, context):
    try:
      total = self._desk.open(*key_calls.asked(next(came, b'')), came)
      _log.info('opened: %d so far', self._desk.opened)
      return total.astype('<i8').tobytes()
    except ValueError as error:
      _log.warning('refused: %s', error)
      context.abort(grpc.StatusCode.PERMISSION_DENIED, f'refused: the key holder: {error}')
    except OSError as error:
      context.abort(grpc.StatusCode.PERMISSION_DENIED, f'refused: the key holder: its audit log cannot be written '
                    f'({error.strerror}), and without it nothing is opened.')
