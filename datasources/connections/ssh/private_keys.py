"""Private keys for SSH: read, checked and opened with `cryptography`, in bounded time.

Importing asyncssh takes 20 MB, so web processes do it only for the rare keys that `cryptography`
does not read.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    load_pem_private_key,
    load_ssh_private_key,
)

MAGIC = b"openssh-key-v1\0"
OPENSSH = "OPENSSH PRIVATE KEY"
PKCS8 = "PRIVATE KEY"
ENCRYPTED = "ENCRYPTED PRIVATE KEY"

# What is read before the passphrase is tried bounds the work: 128 rounds of bcrypt, or a million
# iterations of PBKDF2, take about a second. `ssh-keygen -a 100` stays below.
ROUNDS_MAX = 128
ITERATIONS_MAX = 1_000_000
DERIVED_BYTES_MAX = 64
# A key of 8,192 bits has 4,800 bytes. Checking its primes takes seconds, and grows with the cube.
BODY_BYTES_MAX = 5_600
RSA_BITS = range(1_024, 8_193)

CURVES = ("secp256r1", "secp384r1", "secp521r1", "secp256k1")
# The public keys of OpenSSH's format that `cryptography` reads, and those that only asyncssh does.
COMMON_ALGORITHMS = (
    *(b"ssh-ed25519", b"ssh-rsa", b"ssh-dss"),
    *(b"ecdsa-sha2-nistp256", b"ecdsa-sha2-nistp384", b"ecdsa-sha2-nistp521"),
)
RARE_ALGORITHMS = (b"ssh-ed448", b"ecdsa-sha2-1.3.132.0.10")
# The ciphers that `cryptography` reads: of OpenSSH's format, of PEM headers, and of PKCS #8.
COMMON_CIPHERS = (
    *(b"none", b"aes256-ctr", b"aes256-cbc", b"aes256-gcm@openssh.com"),
    *(b"AES-128-CBC", b"AES-256-CBC", b"DES-EDE3-CBC"),
)
AES = bytes.fromhex("6086480165030401")  # 2.16.840.1.101.3.4.1, with all key sizes
DES3 = bytes.fromhex("2a864886f70d0307")  # 1.2.840.113549.3.7
PBES1_DES3 = bytes.fromhex("2a864886f70d010c0103")  # 1.2.840.113549.1.12.1.3
PBES1 = bytes.fromhex("2a864886f70d0105")  # 1.2.840.113549.1.5, with the number of a scheme
PBES2 = bytes.fromhex("2a864886f70d01050d")  # 1.2.840.113549.1.5.13
# What else asyncssh reads. With other ciphers, the right passphrase would seem to be wrong.
RARE_PEM_CIPHERS = ("AES-192-CBC", "DES-CBC")
RARE_CIPHERS = (
    bytes.fromhex("2b0601040197550102"),  # Blowfish
    bytes.fromhex("2a864886f67d07420a"),  # CAST-128
    bytes.fromhex("2b0e030207"),  # DES
)
RARE_SCHEMES = (
    *(PBES1 + bytes((number,)) for number in (3, 10)),  # MD5 or SHA-1, and DES
    *(PBES1_DES3[:-1] + bytes((number,)) for number in (1, 2, 4)),  # RC4, two keys of DES
)
PBKDF2 = bytes.fromhex("2a864886f70d01050c")  # 1.2.840.113549.1.5.12
RSA_PSS = bytes.fromhex("2a864886f70d01010a")  # 1.2.840.113549.1.1.10
SEQUENCE = b"\x30"
INTEGER = 0x02
OBJECT_IDENTIFIER = 0x06

CONVERT = "Convert a copy of it with `ssh-keygen -p -f FILE`, and enter that."
ANOTHER = "Make one with `ssh-keygen -t ed25519`."
TRUNCATED = (
    "The private key is cut off. Paste the whole file, down to the line that begins with -----END."
)
DAMAGED = "The private key is damaged. Paste the whole file again, without a change."
TOO_LARGE = f"The private key is too large. An RSA key has at most {RSA_BITS[-1]:,} bits."
DSA = f"This is a DSA key, which SSH servers no longer accept. {ANOTHER}"
FIDO = (
    "This key can be used only with the security key that made it (its type begins with sk-). "
    f"Enter a key that needs no device. {ANOTHER}"
)
UNKNOWN_ALGORITHM = (
    "The private key is of an algorithm that the SSH client does not use. Enter an Ed25519, ECDSA "
    f"or RSA key. {ANOTHER}"
)
UNKNOWN_ENCRYPTION = f"The private key is encrypted in a way that is not supported. {CONVERT}"
TOO_MUCH_WORK = (
    "Decrypting the private key takes too long. Encrypt a copy of it again with "
    "`ssh-keygen -p -a 100 -f FILE`, and enter that."
)
RSA_TOO_SHORT = (
    f"This RSA key is too short. Enter one of at least {RSA_BITS[0]:,} bits; 3,072 are usual."
)
CERTIFICATE = "This is a certificate. Enter the private key that belongs to it."
PUBLIC_KEY = "This is a public key. Enter the private key, which begins with -----BEGIN."
PKCS12 = (
    "This is a PKCS #12 file. Extract the private key with "
    "`openssl pkcs12 -in FILE -nocerts -nodes`, and enter that."
)
NEEDS_PASSPHRASE = "The private key is encrypted. Enter its passphrase, too."
WRONG_PASSPHRASE = "The passphrase does not open the private key. Enter the one of this key."


class KeyRefused(ValueError):
    """A private key cannot be used; the message says why, and never quotes the key.

    `is_passphrase`: the passphrase is missing or wrong.
    """

    def __init__(self, message: str, *, is_passphrase: bool = False) -> None:
        super().__init__(message)
        self.is_passphrase = is_passphrase


@dataclass(frozen=True)
class Envelope:
    """What can be read of a private key without its passphrase.

    `is_common`: `cryptography` reads it; other keys need asyncssh.
    """

    label: str
    is_encrypted: bool = False
    is_common: bool = True


def open_private_key(envelope: Envelope, text: str, passphrase: str | None) -> Any:
    """Return the key. Raises KeyRefused if the passphrase is wrong, or SSH cannot use the key.

    `text` is in mended form. An unencrypted key needs no passphrase, and ignores one.
    """
    if envelope.is_encrypted and not passphrase:
        raise KeyRefused(NEEDS_PASSPHRASE, is_passphrase=True)
    try:
        load = load_common if envelope.is_common else load_rare
        key = load(envelope, text, passphrase if envelope.is_encrypted else None)
    except Exception:
        # The libraries raise many kinds of errors, and may quote the key. Whether a passphrase is
        # wrong or what it decrypts is damaged looks the same.
        if envelope.is_encrypted:
            raise KeyRefused(WRONG_PASSPHRASE, is_passphrase=True) from None
        raise KeyRefused(DAMAGED) from None
    refuse_unusable(key)
    return key


def load_common(envelope: Envelope, text: str, passphrase: str | None) -> Any:
    """Return the key as `cryptography` reads it."""
    load = load_ssh_private_key if envelope.label == OPENSSH else load_pem_private_key
    password = None if passphrase is None else passphrase.encode()
    return load(text.encode(), password, unsafe_skip_rsa_key_validation=True)


def load_rare(envelope: Envelope, text: str, passphrase: str | None) -> Any:
    """Return the key as asyncssh reads it."""
    import asyncssh

    key = asyncssh.import_private_key(text, passphrase, unsafe_skip_rsa_key_validation=True)
    return key.pyca_key


def refuse_unusable(key: Any) -> None:
    """Raise KeyRefused if the SSH client cannot log in with this key."""
    if isinstance(key, dsa.DSAPrivateKey):
        raise KeyRefused(DSA)
    if isinstance(key, rsa.RSAPrivateKey):
        if key.key_size < RSA_BITS[0]:
            raise KeyRefused(RSA_TOO_SHORT)
        if key.key_size > RSA_BITS[-1]:
            raise KeyRefused(TOO_LARGE)
        if not is_consistent(key.private_numbers()):
            raise KeyRefused(DAMAGED)
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        if key.curve.name not in CURVES:
            raise KeyRefused(UNKNOWN_ALGORITHM)
    elif not isinstance(key, (ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey)):
        raise KeyRefused(UNKNOWN_ALGORITHM)


def is_consistent(key: rsa.RSAPrivateNumbers) -> bool:
    """Return whether the numbers of an RSA key belong together, without testing its primes."""
    product, p, q = key.d * key.public_numbers.e, key.p, key.q
    return (
        p * q == key.public_numbers.n
        and product % (p - 1) == product % (q - 1) == 1
        and (key.dmp1, key.dmq1) == (key.d % (p - 1), key.d % (q - 1))
        and key.iqmp * q % p == 1
    )


def label_of(body: bytes) -> str | None:
    """Return the label that the first line of a private key has, by its content; None if unknown.

    Raises KeyRefused if the content is cut off, or something else.
    """
    if body.startswith(MAGIC):
        return OPENSSH
    outer = [*der_values(body)] if body[:1] == SEQUENCE else []
    if len(outer) != 1:
        return None
    values = [*der_values(outer[0][1])]
    match [tag for tag, _ in values]:
        case [0x02, 0x30, 0x04, *_]:
            return PKCS8
        case [0x30, 0x04]:
            return ENCRYPTED
        case [0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, *_]:
            return "RSA PRIVATE KEY"
        case [0x02, 0x04, *_]:
            return "EC PRIVATE KEY"
        case [0x02, 0x02, 0x02, 0x02, 0x02, 0x02]:
            return "DSA PRIVATE KEY"
        case [0x30, 0x30, 0x03]:
            raise KeyRefused(CERTIFICATE)
        case [0x30, 0x03] | [0x02, 0x02]:
            raise KeyRefused(PUBLIC_KEY)
        case [0x02, 0x30, *_] if values[0][1] == b"\3":
            raise KeyRefused(PKCS12)
    return None


def examine(label: str, body: bytes, cipher: str | None) -> Envelope:
    """Return the envelope of a private key. Raises KeyRefused if it can never be used.

    `cipher` is the name in the PEM header of an encrypted key.
    """
    if len(body) > BODY_BYTES_MAX:
        raise KeyRefused(TOO_LARGE)
    if label == "DSA PRIVATE KEY":
        raise KeyRefused(DSA)
    if cipher is not None:
        is_common = cipher.encode() in COMMON_CIPHERS
        if not is_common and cipher not in RARE_PEM_CIPHERS:
            raise KeyRefused(UNKNOWN_ENCRYPTION)
        return Envelope(label, True, is_common)
    if label == OPENSSH:
        return examine_openssh(body)
    if label == ENCRYPTED:
        return examine_encrypted(body)
    if label != PKCS8:
        return Envelope(label)
    (_, version), (_, algorithm), *_ = der_values(next(der_values(body))[1])
    if next(der_values(algorithm), None) == (OBJECT_IDENTIFIER, RSA_PSS):
        raise KeyRefused(UNKNOWN_ALGORITHM)
    # Version 1 of PKCS #8, which has the public key, too (RFC 5958), is read by asyncssh alone.
    return Envelope(label, is_common=version == b"\0")


def examine_openssh(body: bytes) -> Envelope:
    """Return the envelope of a key in OpenSSH's format. Raises KeyRefused."""
    cipher, rest = ssh_string(body[len(MAGIC) :])
    kdf, rest = ssh_string(rest)
    options, rest = ssh_string(rest)
    public_key, rest = ssh_string(rest[4:])  # after the number of keys
    ssh_string(rest)  # the private part must be there
    algorithm, _ = ssh_string(public_key)
    if algorithm.startswith(b"sk-"):
        raise KeyRefused(FIDO)
    if algorithm == b"ssh-dss":
        raise KeyRefused(DSA)
    if algorithm not in (*COMMON_ALGORITHMS, *RARE_ALGORITHMS):
        raise KeyRefused(UNKNOWN_ALGORITHM)
    is_encrypted = cipher != b"none"
    if is_encrypted:
        if kdf != b"bcrypt":
            raise KeyRefused(UNKNOWN_ENCRYPTION)
        _, rounds = ssh_string(options)
        if int.from_bytes(rounds) > ROUNDS_MAX:
            raise KeyRefused(TOO_MUCH_WORK)
    is_common = cipher in COMMON_CIPHERS and algorithm in COMMON_ALGORITHMS
    return Envelope(OPENSSH, is_encrypted, is_common)


def examine_encrypted(body: bytes) -> Envelope:
    """Return the envelope of an encrypted key in PKCS #8 (RFC 8018, appendix A)."""
    try:
        [(_, whole)] = der_values(body)
        (_, algorithm), _ = der_values(whole)
        (_, scheme), (_, parameters) = der_values(algorithm)
        is_common = scheme == PBES1_DES3
        if scheme == PBES2:
            (_, derivation), (_, encryption) = der_values(parameters)
            (_, function), (_, parameters) = der_values(derivation)
            if function != PBKDF2:  # such as scrypt, which asyncssh does not read
                raise KeyRefused(UNKNOWN_ENCRYPTION)
            cipher = next(der_values(encryption))[1]
            is_common = cipher.startswith(AES) or cipher == DES3
            if not is_common and cipher not in RARE_CIPHERS:
                raise KeyRefused(UNKNOWN_ENCRYPTION)
        elif not is_common and scheme not in RARE_SCHEMES:
            raise KeyRefused(UNKNOWN_ENCRYPTION)
        numbers = [int.from_bytes(value) for tag, value in der_values(parameters) if tag == INTEGER]
    except KeyRefused:
        raise
    except (StopIteration, ValueError):
        raise KeyRefused(DAMAGED) from None
    if numbers[:1] > [ITERATIONS_MAX] or numbers[1:] > [DERIVED_BYTES_MAX]:
        raise KeyRefused(TOO_MUCH_WORK)
    return Envelope(ENCRYPTED, True, is_common)


def ssh_string(data: bytes) -> tuple[bytes, bytes]:
    """Return the string that data begins with (RFC 4251, section 5), and what follows it."""
    end = 4 + int.from_bytes(data[:4])
    if len(data) < max(end, 4):
        raise KeyRefused(TRUNCATED)
    return data[4:end], data[end:]


def der_values(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield tag and content of each value in DER. Raises KeyRefused if the last is cut off."""
    while data:
        length, start = data[1] if len(data) > 1 else 0, 2
        if length > 0x80:  # the length of the length
            start += length - 0x80
            length = int.from_bytes(data[2:start])
        if len(data) < start + length:
            raise KeyRefused(TRUNCATED)
        yield data[0], data[start : start + length]
        data = data[start + length :]
