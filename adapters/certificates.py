"""The server's certificate: whether it can be used, and a client's trust in this one alone.

Hypercorn serves it; here it is only looked at, so that what is wrong with it is said in a line before anything runs.
"""

from __future__ import annotations

import re
import ssl
from pathlib import Path

from adapters.files import explain

_ONE_CERTIFICATE = re.compile("-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


_OTHER_KEY = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED")
"""What OpenSSL says of another certificate's key: the last, of one of another sort."""


class CertificateUnusable(Exception):
    """A certificate or its key cannot be used. The text says which and why, in one line."""


class _Protected(Exception):
    """A key wants a passphrase."""


def check_certificate(cert_file: str, key_file: str) -> None:
    """See that a server can use a certificate with its key: both are PEM, the key is the certificate's.

    Raises:
        CertificateUnusable: it cannot.
    """
    _read_certificate(cert_file)
    place = f"server.tlsKeyFile: {key_file}"
    try:
        Path(key_file).read_bytes()
    except OSError as error:
        raise CertificateUnusable(f"{place} cannot be read: {explain(error)}") from None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert_file, key_file, password=_refuse_passphrase)
    except _Protected:
        raise CertificateUnusable(f"{place} is protected by a passphrase, which is not supported") from None
    except ssl.SSLError as error:
        if error.reason in _OTHER_KEY:
            raise CertificateUnusable(f"{place} is not the key of {cert_file}") from None
        # OpenSSL names nothing of what it met in a PEM file. The certificate was read above, so it is the key's.
        problem = f"is refused by OpenSSL: {error.reason}" if error.reason else "holds no private key in PEM"
        raise CertificateUnusable(f"{place} {problem}") from None


def _refuse_passphrase() -> str:
    raise _Protected


def _read_certificate(cert_file: str) -> str:
    """The first certificate in a file: the server's own; those behind it are of who vouches for it."""
    place = f"server.tlsCertFile: {cert_file}"
    try:
        found = _ONE_CERTIFICATE.search(Path(cert_file).read_text("latin-1"))
    except OSError as error:
        raise CertificateUnusable(f"{place} cannot be read: {explain(error)}") from None
    try:
        _trusting(found[0] if found else "")
    except (ssl.SSLError, ValueError):
        raise CertificateUnusable(f"{place} holds no certificate in PEM") from None
    assert found is not None
    return found[0]


def trust_in(cert_file: str) -> ssl.SSLContext:
    """A client's trust in the server that has the key of this certificate, whatever its name is and who vouches for it.

    Raises:
        CertificateUnusable: it cannot be read.
    """
    return _trusting(_read_certificate(cert_file))


def _trusting(certificate: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # It is made for the name under which others reach the server; who can only ask on this machine knows another. And
    # an authority that stands behind it in the file is not trusted: it vouches for others as well.
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=certificate)
    return context
