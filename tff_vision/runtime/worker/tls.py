"""Mutual TLS between coordinator and worker, and clear messages when it fails.

gRPC reports a refused certificate as UNAVAILABLE, as it does for a worker that is down. `check` makes the handshake
with Python's ssl and reports which of the two it is.
"""

import dataclasses
import pathlib
import socket
import ssl

import grpc

from tff_vision.runtime.worker import signatures

CHANNEL_OPTIONS = (
    ('grpc.max_receive_message_length', -1), ('grpc.max_send_message_length', -1),
    # No keepalive: executors answer pings during a long computation with «too many pings» and close the connection.
    ('grpc.initial_reconnect_backoff_ms', 200), ('grpc.max_reconnect_backoff_ms', 1000))


class TlsRefused(ValueError):
  """A certificate, a key or a name is wrong; a retry cannot help."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TlsFiles:
  """Paths of PEM files.

  Attributes:
    ca: The authority whose signature the other side's certificate must carry.
    cert: This side's certificate.
    key: The private key of `cert`.
  """
  ca: str
  cert: str
  key: str

  def check(self, ca_flag: str = 'tls_ca') -> None:
    """Refuses files that cannot be used; `ca_flag` is the flag that named `ca`.

    Raises:
      TlsRefused: A file is missing or not in PEM format, or the key does not belong to the certificate.
    """
    try:
      signatures.check_authority(pathlib.Path(self.ca), ca_flag)
      signatures.check_pair(pathlib.Path(self.cert), pathlib.Path(self.key))
    except ValueError as error:
      raise TlsRefused(str(error)) from None

  def client_context(self) -> ssl.SSLContext:
    """Returns a context for this side as a TLS client, TLS 1.3 only.

    Raises:
      TlsRefused: As `check`.
    """
    self.check()
    try:
      context = ssl.create_default_context(cafile=self.ca)
      context.load_cert_chain(self.cert, self.key)
    except ssl.SSLError as error:
      raise TlsRefused(f'tls_ca={self.ca}, tls_cert={self.cert}, tls_key={self.key} do not fit together: '
                       f'{error.reason or error}.') from None
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(['h2'])
    return context


def open_channel(address: str, tls: TlsFiles | None, *, own_connection: bool = False) -> grpc.Channel:
  """Returns a channel to `address` (host:port or unix:path).

  Args:
    address: The worker.
    tls: This side's TLS files; None: no TLS.
    own_connection: Whether the channel never shares a TCP connection with another channel to the same address.
  """
  options = [*CHANNEL_OPTIONS, ('grpc.use_local_subchannel_pool', int(own_connection))]
  if tls is None:
    return grpc.insecure_channel(address, options)
  pem = {}
  for name, path in dataclasses.asdict(tls).items():
    with open(path, 'rb') as file:
      pem[name] = file.read()
  return grpc.secure_channel(address, grpc.ssl_channel_credentials(pem['ca'], pem['key'], pem['cert']), options)


def check(address: str, tls: TlsFiles, timeout: float = 3.0) -> str:
  """Makes one TLS handshake as a client of host:port and checks what the worker sends after it.

  Returns:
    A temporary problem (nothing listens, the connection is closed), or '' if there is no problem.

  Raises:
    TlsRefused: One side does not accept the other's certificate, name or protocol.
  """
  context = tls.client_context()
  host, _, port = address.rpartition(':')
  host = host.strip('[]')
  try:
    with (socket.create_connection((host, int(port)), timeout) as raw,
          context.wrap_socket(raw, server_hostname=host) as secured):
      return _look(address, secured)
  except ssl.SSLCertVerificationError as error:
    raise TlsRefused(f'{address}: its certificate is not accepted here: {error.verify_message} '
                     f'(trusted authority: {tls.ca}).') from None
  except (ssl.SSLEOFError, ssl.SSLZeroReturnError):  # A tunnel whose site is away, or a worker that is being started.
    return f'{address}: the connection is closed before TLS is up: nothing answers behind it.'
  except ssl.SSLError as error:
    raise TlsRefused(f'{address}: TLS failed: {error.reason or error} (our certificate: {tls.cert}).') from None
  except OSError as error:
    return f'{address}: {error}'


def _look(address, secured):
  if secured.selected_alpn_protocol() != 'h2':
    raise TlsRefused(f'{address}: it speaks TLS but not HTTP/2 (no ALPN h2): this is no worker.')
  try:
    first = secured.recv(256)
  except TimeoutError:
    return f'{address}: TLS is up, but nothing answers behind it.'
  except ConnectionResetError:
    first = b''
  if first.startswith(b'refused'):
    raise TlsRefused(f'{address}: {first.decode().strip()}')
  if not first:
    return (f'{address}: TLS is up, but the connection is closed at once: the worker does not accept our '
            'certificate, or its executor is down; the worker\'s log says which.')
  return ''
