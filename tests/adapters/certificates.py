"""Certificates for tests, made there: signed by themselves, or by an authority that nobody knows."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import NamedTuple, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

Key: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Certificate(NamedTuple):
    """A certificate with its key."""

    certificate: x509.Certificate
    key: Key

    @property
    def pem(self) -> bytes:
        """The certificate as a file has it."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def key_pem(self, passphrase: bytes | None = None) -> bytes:
        """The key as a file has it."""
        protection: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if passphrase is not None:
            protection = serialization.BestAvailableEncryption(passphrase)
        return self.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)


def make_certificate(name: str, *, by: Certificate | None = None, is_rsa: bool = False) -> Certificate:
    """A certificate for a name, good for a day around now."""
    key: Key = rsa.generate_private_key(65537, 2048) if is_rsa else ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now, day = dt.datetime.now(dt.UTC), dt.timedelta(days=1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
    )
    return Certificate(builder.sign(by.key if by else key, hashes.SHA256()), key)


def written(folder: Path, made: Certificate, *chain: Certificate) -> dict[str, str]:
    """The files of a certificate and its key, as the configuration's section `server` names them."""
    cert_file, key_file = folder / "server.crt", folder / "server.key"
    cert_file.write_bytes(b"".join(one.pem for one in (made, *chain)))
    key_file.write_bytes(made.key_pem())
    return {"tlsCertFile": str(cert_file), "tlsKeyFile": str(key_file)}
