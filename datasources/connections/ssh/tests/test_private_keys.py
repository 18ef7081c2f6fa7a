"""Reading private keys as people paste them, beside what asyncssh itself reads."""

import base64
import json
import re
import subprocess
import unittest
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncssh
from asyncssh.encryption import get_encryption_algs
from cryptography.hazmat.primitives.asymmetric import ed25519, x25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from datasources.connections.ssh.pasted_keys import check_private_key, mend_private_key
from datasources.connections.ssh.private_keys import KeyRefused
from datasources.connections.testing.private_keys import private_key

ALGORITHMS = (
    *("ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    *("ecdsa-sha2-1.3.132.0.10", "ssh-ed25519", "ssh-ed448"),
)
PASSPHRASE = "pä ss"
CBC = ("aes128-cbc", "aes192-cbc", "aes256-cbc", "des3-cbc", "des-cbc")
FORMATS = (
    *((form,) for form in ("pkcs1-pem", "pkcs8-pem", "openssh")),
    *(("pkcs1-pem", PASSPHRASE, cipher) for cipher in CBC),
    *(
        ("pkcs8-pem", PASSPHRASE, cipher, digest, 2)
        for cipher in (*CBC, "blowfish-cbc", "cast128-cbc")
        for digest in ("sha1", "sha256", "sha512")
    ),
    *(
        ("pkcs8-pem", PASSPHRASE, cipher, digest, 1)
        for cipher, digest in (
            *(("des-cbc", "md5"), ("des-cbc", "sha1"), ("des2-cbc", "sha1")),
            *(("des3-cbc", "sha1"), ("rc4-40", "sha1"), ("rc4-128", "sha1")),
        )
    ),
    *(("openssh", PASSPHRASE, cipher.decode(), "sha256", 2, 2) for cipher in get_encryption_algs()),
)


def refusal(text, passphrase=None):
    """Return why a key is refused; None if it is not."""
    try:
        check_private_key(text, passphrase)
    except KeyRefused as error:
        return str(error)
    return None


def is_read_by_asyncssh(text, passphrase=None):
    try:
        asyncssh.import_private_key(text, passphrase)
    except ValueError:
        return False
    return True


def run(*arguments):
    subprocess.run(arguments, check=True, capture_output=True)


class FormatTests(unittest.TestCase):
    def test_keys_are_accepted_exactly_if_asyncssh_reads_them(self):
        count = 0
        for algorithm in ALGORITHMS:
            key = asyncssh.generate_private_key(algorithm)
            for form in FORMATS:
                try:
                    text = key.export_private_key(*form).decode()
                except asyncssh.KeyExportError:
                    continue  # there is no such format of this algorithm
                for passphrase in (PASSPHRASE, "other", None):
                    count += 1
                    with self.subTest(algorithm, form=form, passphrase=passphrase):
                        expected = is_read_by_asyncssh(text, passphrase)
                        self.assertEqual(refusal(text, passphrase) is None, expected)
                        self.assertEqual(len(form) > 1 and passphrase != PASSPHRASE, not expected)
        self.assertGreater(count, 700)

    def test_keys_that_ssh_keygen_writes_are_accepted(self):
        with TemporaryDirectory() as folder:
            for number, (algorithm, form, passphrase) in enumerate(
                (algorithm, form, passphrase)
                for algorithm in (("rsa", "-b", "2048"), ("ecdsa", "-b", "384"), ("ed25519",))
                for form in ("RFC4716", "PEM", "PKCS8")
                for passphrase in ("", PASSPHRASE)
            ):
                with self.subTest(algorithm=algorithm, form=form, passphrase=passphrase):
                    path = Path(folder, str(number))
                    command = ("ssh-keygen", "-q", "-a", "2", "-m", form, "-t", *algorithm)
                    run(*command, "-N", passphrase, "-f", path)
                    text = path.read_text()
                    self.assertTrue(is_read_by_asyncssh(text, passphrase or None))
                    self.assertIsNone(refusal(text, passphrase or None))
                    # What programs write is stored to the letter.
                    self.assertEqual(mend_private_key(text), text)

    def test_keys_that_openssl_writes_are_accepted(self):
        encrypted = ("-passout", f"pass:{PASSPHRASE}")
        traditional = {
            "RSA": [("rsa", "-traditional"), ("rsa", "-traditional", "-aes192", *encrypted)],
            "EC": [("ec",), ("ec", "-aes256", *encrypted), ("ec", "-des3", *encrypted)],
        }
        with TemporaryDirectory() as folder:
            source, path = Path(folder, "source"), Path(folder, "key")
            for algorithm in ("RSA", "EC", "ED25519", "ED448"):
                curve = ("-pkeyopt", "ec_paramgen_curve:P-256") if algorithm == "EC" else ()
                run("openssl", "genpkey", "-algorithm", algorithm, *curve, "-out", source)
                for options in (
                    ("pkcs8", "-topk8", "-nocrypt"),
                    *(
                        ("pkcs8", "-topk8", "-v2", cipher, "-v2prf", prf, *encrypted)
                        for cipher in ("aes-128-cbc", "aes-192-cbc", "aes-256-cbc", "des3")
                        for prf in ("hmacWithSHA1", "hmacWithSHA256", "hmacWithSHA512")
                    ),
                    ("pkcs8", "-topk8", "-v1", "PBE-SHA1-3DES", *encrypted),
                    ("pkcs8", "-topk8", "-iter", "600000", *encrypted),
                    *traditional.get(algorithm, ()),
                ):
                    with self.subTest(algorithm, options=options):
                        run("openssl", *options, "-in", source, "-out", path)
                        text = path.read_text()
                        passphrase = PASSPHRASE if encrypted[0] in options else None
                        self.assertTrue(is_read_by_asyncssh(text, passphrase))
                        self.assertIsNone(refusal(text, passphrase))
                        self.assertEqual(mend_private_key(text), text)
            run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-out", path)
            self.assertIn("BEGIN EC PARAMETERS", path.read_text())
            self.assertIsNone(refusal(path.read_text()))

    def test_key_of_pkcs8_with_its_public_key_is_accepted(self):
        key = ed25519.Ed25519PrivateKey.generate()
        der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        inner = b"\2\1\1" + der[5:] + b"\x81\x21\0" + key.public_key().public_bytes_raw()
        text = pem("PRIVATE KEY", b"\x30" + bytes([len(inner)]) + inner)
        self.assertTrue(is_read_by_asyncssh(text))
        self.assertIsNone(refusal(text))


def pem(label, body):
    return f"-----BEGIN {label}-----\n{base64.encodebytes(body).decode()}-----END {label}-----\n"


class MendingTests(unittest.TestCase):
    def pasted(self, key):
        """Yield a name and the text of each way in which a key is pasted."""
        lines = key.splitlines()
        yield "surrounding space", f" \n\t{key}\n\n "
        for quote in ("'", '"', "`", "'''"):
            yield f"quotes {quote}", f"{quote}{key}{quote}"
            yield f"quotes {quote} without last line break", f"{quote}{key.strip()}{quote}"
        yield "without last line break", key.strip()
        yield "byte order mark", f"\ufeff{key}"
        yield "CRLF", key.replace("\n", "\r\n")
        yield "CR", key.replace("\n", "\r")
        yield "empty lines between", key.replace("\n", "\r\n\r\n")
        yield "trailing spaces", key.replace("\n", "   \n")
        yield "spelled out", key.replace("\n", "\\n")
        yield "spelled out and real", key.replace("\n", "\\n\n")
        yield "spelled out CRLF", key.replace("\n", "\\r\\n")
        yield "spelled out twice", key.replace("\n", "\\\\n")
        yield "in JSON", json.dumps(key)
        yield "in JSON in JSON", json.dumps(json.dumps(key))
        yield "in JSON of PHP", json.dumps(key).replace("/", "\\/")
        yield "in JSON of Go", json.dumps(key).replace("+", "\\u002b").replace("=", "\\u003d")
        yield "continued lines", key.replace("\n", "\\\n")
        yield "indented", "\n".join(f"    {line}" for line in lines)
        yield "indented by tabs", "\n".join(f"\t{line}" for line in lines)
        yield "YAML", "ssh_private_key: |\n" + "\n".join(f"  {line}" for line in lines)
        yield "shell", f'export KEY="{key}"'
        yield "list of lines", json.dumps(lines)
        yield "quoted in a mail", "\n".join(f"> {line}" for line in lines)
        yield "on one line", " ".join(lines)
        yield "without line breaks", "".join(lines)
        yield "in narrow lines", re.sub("(?m)^([A-Za-z0-9+/]{20})", r"\1 \n ", key)
        yield "zero-width spaces", key.replace("\n", "\u200b\n").replace("A", "A\u200d")
        yield "no-break spaces", key.replace("\n", "\n\xa0\xa0").replace(" ", "\xa0")
        yield "dashes of a word processor", key.replace("-----", "\u2014\u2013\u2013")
        yield "a dash less", key[1:].rstrip()[:-1]
        yield "percent-encoded", key.replace("+", "%2B").replace(" ", "%20").replace("\n", "%0A")
        yield "form-encoded", key.replace("+", "%2B").replace(" ", "+").replace("\n", "%0A")
        encoded = base64.b64encode(key.encode()).decode()
        yield "Base64", encoded
        yield "Base64 in lines", base64.encodebytes(key.encode()).decode()
        yield "Base64 without padding", encoded.rstrip("=")
        yield "Base64 in quotes", f'"{encoded}"\n'
        yield "Base64 of CRLF", base64.b64encode(key.replace("\n", "\r\n").encode()).decode()
        yield "Base64 of UTF-16", base64.b64encode(key.encode("utf-16")).decode()
        yield "Base64 of PowerShell", base64.b64encode(key.encode("utf-16-le")).decode()
        yield "line breaks percent-encoded", key.replace("\n", "%0A")
        yield "HTML", key.replace("/", "&#x2F;").replace(" ", "&nbsp;").replace("\n", "&#10;")
        yield "HTML lines", key.replace("\n", "<br />\n")
        yield "HTML paragraphs", "".join(f'<p class="key">{line}</p>' for line in lines)
        yield "data URI", f"data:application/x-pem-file;base64,{encoded}"
        yield "without last line", "\n".join(lines[:-1])
        yield "text before and after", f"$ cat key\n{key}$ exit\n"

    def test_pasted_keys_are_stored_as_programs_write_them(self):
        for key, passphrase in (
            (private_key(), None),
            (private_key("p"), "p"),
            (private_key(form="pkcs1-pem"), None),
            (private_key("p", "pkcs1-pem"), "p"),
            (private_key("p", "pkcs8-pem"), "p"),
        ):
            key = mend_private_key(key)
            for name, text in self.pasted(key):
                with self.subTest(name, key=key[:40]):
                    self.assertEqual(check_private_key(text, passphrase)[0], key)

    def test_lost_first_and_last_lines_are_restored(self):
        for form in ("openssh", "pkcs8-pem", "pkcs1-pem"):
            key = mend_private_key(private_key(form=form))
            body = "".join(key.splitlines()[1:-1])
            with self.subTest(form):
                self.assertEqual(mend_private_key(body), key)

    def test_content_decides_the_label(self):
        key = mend_private_key(private_key())
        for label in ("RSA PRIVATE KEY", "PRIVATE KEY", "ENCRYPTED PRIVATE KEY"):
            with self.subTest(label):
                text = key.replace("OPENSSH PRIVATE KEY", label)
                self.assertEqual(mend_private_key(text), key)

    def test_headers_and_certificates_beside_the_key_are_left_out(self):
        key = mend_private_key(private_key(form="pkcs8-pem"))
        certificate = pem("CERTIFICATE", b"x" * 99)
        first, rest = key.split("\n", 1)
        for text in (
            f"{certificate}{key}",
            f"{key}{certificate}",
            f"Bag Attributes\n    localKeyID: 01\nKey Attributes: <No Attributes>\n{key}",
            f"{first}\nComment: me@here\nX-Note: A1\n\n{rest}",
            f"{key}\n{key}",
        ):
            with self.subTest(text=text[:30]):
                self.assertEqual(mend_private_key(text), key)


class RefusalTests(unittest.TestCase):
    def assert_refused(self, words, text, passphrase=None):
        reason = refusal(text, passphrase)
        self.assertIsNotNone(reason, "accepted")
        self.assertIn(words, reason)
        for part in re.findall(r"[A-Za-z0-9+/]{12,}", text):
            if part not in ("openssh", "PuTTY-User-Key-File"):
                self.assertNotIn(part, reason)

    def test_refusal_names_what_was_pasted_in_place_of_a_key(self):
        key = asyncssh.generate_private_key("ssh-ed25519")
        public = key.export_public_key().decode()
        for words, text in (
            ("This is a public key", public),
            ("This is a public key", f'from="10.0.0.0/8" {public}'),
            ("This is a public key", public.split()[1]),
            ("This is a public key", key.export_public_key("pkcs8-pem").decode()),
            ("This is a public key", key.export_public_key("rfc4716").decode()),
            ("This is a public key", base64.b64encode(public.encode()).decode()),
            ("an SSH certificate", "ssh-ed25519-cert-v01@openssh.com AAAAIHNzaC1lZDI1NTE5"),
            ("This is a certificate", pem("CERTIFICATE", b"x" * 99)),
            ("puttygen", "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n"),
            ("puttygen", "\n PuTTY-User-Key-File-2: ssh-rsa\n"),
            ("ssh-keygen -i", "---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\nP2/56\n---- END"),
            ("PGP", pem("PGP PRIVATE KEY BLOCK", b"x" * 99)),
            ("JSON", '{"kty": "OKP", "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}'),
            ("the path of a file", "~/.ssh/id_ed25519"),
            ("the path of a file", "C:\\Users\\me\\key.ppk"),
            ("the path of a file", "id_rsa"),
            ("a reference", "${SSH_PRIVATE_KEY}"),
            ("a reference", "$SSH_KEY"),
            ("a reference", "vault://secret/ssh"),
            ("the fingerprint", "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"),
            ("no private key", "hunter2"),
            ("no private key", "-----BEGIN KEY-----\nabc\n-----END KEY-----"),
        ):
            with self.subTest(words, text=text[:40]):
                self.assert_refused(words, text)

    def test_damaged_and_masked_keys_are_refused(self):
        for form in ("openssh", "pkcs8-pem", "pkcs1-pem"):
            key = mend_private_key(private_key(form=form))
            lines = key.splitlines()
            first, *middle, last = lines
            for words, text in (
                ("cut off", "\n".join(lines[:2])),
                ("cut off", "\n".join([first, *middle[:-1], last])),
                ("cut off", first),
                ("damaged", "\n".join([first, *middle[1:], last])),
                ("damaged", key.replace(middle[0], f"{middle[0]}!")),
                ("damaged", "\n".join([first, base64.b64encode(b"x" * 99).decode(), last])),
                ("left out", "\n".join([first, "**********", last])),
                ("left out", "\n".join([first, middle[0], "...", last])),
                ("left out", "\n".join([first, "<redacted>", last])),
            ):
                with self.subTest(words, form=form, text=text[-60:]):
                    self.assert_refused(words, text)

    def test_a_changed_letter_of_an_rsa_key_is_noticed(self):
        key = asyncssh.generate_private_key("ssh-rsa", key_size=1024)
        lines = key.export_private_key("pkcs1-pem").decode().splitlines()
        for number in range(4, len(lines) - 2):
            changed = list(lines)
            changed[number] = lines[number].translate(str.maketrans("AB", "BA"))
            if changed != lines:
                with self.subTest(line=number):
                    self.assertIsNotNone(refusal("\n".join(changed)))

    def test_two_keys_are_refused(self):
        other = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
        self.assert_refused("several private keys", private_key() + other)

    def test_keys_that_ssh_cannot_use_are_refused(self):
        def written(key):
            return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

        dsa = asyncssh.generate_private_key("ssh-dss")
        for words, text, passphrase in (
            ("DSA", dsa.export_private_key("openssh").decode(), None),
            ("DSA", dsa.export_private_key("pkcs1-pem").decode(), None),
            ("DSA", dsa.export_private_key("pkcs8-pem").decode(), None),
            ("DSA", dsa.export_private_key("pkcs8-pem", "p").decode(), "p"),
            ("algorithm", written(x25519.X25519PrivateKey.generate()), None),
            ("security key", openssh(b"sk-ssh-ed25519@openssh.com"), None),
            ("algorithm", openssh(b"ssh-unheard-of"), None),
        ):
            with self.subTest(words, text=text[:50]):
                self.assert_refused(words, text, passphrase)
        with TemporaryDirectory() as folder:
            path = Path(folder, "short")
            run("openssl", "genrsa", "-traditional", "-out", path, "768")
            self.assertIsNotNone(refusal(path.read_text()))
        large = der(0x30, number(0), *(number(2**8_000) for _ in range(8)))
        self.assert_refused("too large", pem("RSA PRIVATE KEY", large))

    def test_key_of_rsa_pss_is_refused_as_the_ssh_client_does_not_read_it(self):
        with TemporaryDirectory() as folder:
            path = Path(folder, "pss")
            run("openssl", "genpkey", "-algorithm", "RSA-PSS", "-out", path)
            self.assertFalse(is_read_by_asyncssh(path.read_text(), None))
            self.assert_refused("algorithm", path.read_text())

    def test_right_passphrase_of_an_unsupported_cipher_is_not_called_wrong(self):
        encrypted = ("-passout", f"pass:{PASSPHRASE}")
        with TemporaryDirectory() as folder:
            source, path = Path(folder, "source"), Path(folder, "key")
            run("openssl", "genpkey", "-algorithm", "RSA", "-out", source)
            for options in (
                ("pkcs8", "-topk8", "-v2", "camellia-256-cbc", *encrypted),
                ("pkcs8", "-topk8", "-v2", "aria-128-cbc", *encrypted),
                ("rsa", "-traditional", "-camellia256", *encrypted),
                ("rsa", "-traditional", "-aria256", *encrypted),
            ):
                with self.subTest(options=options):
                    run("openssl", *options, "-in", source, "-out", path)
                    for passphrase in (PASSPHRASE, None):
                        self.assert_refused("not supported", path.read_text(), passphrase)

    def test_missing_and_wrong_passphrases_are_refused_as_such(self):
        for form in ("openssh", "pkcs8-pem", "pkcs1-pem"):
            key = private_key("right", form)
            for words, passphrase in (
                ("is encrypted", None),
                ("is encrypted", ""),
                ("does not open", "wrong"),
                ("does not open", "right "),
            ):
                with self.subTest(form, passphrase=passphrase):
                    with self.assertRaises(KeyRefused) as caught:
                        check_private_key(key, passphrase)
                    self.assertIn(words, str(caught.exception))
                    self.assertTrue(caught.exception.is_passphrase)
            self.assertIsNone(refusal(private_key(form=form), "of no use"))

    def test_keys_that_take_long_to_decrypt_are_refused_before_they_are_decrypted(self):
        for words, text in (
            ("takes too long", openssh(b"ssh-ed25519", rounds=129)),
            ("takes too long", openssh(b"ssh-ed25519", rounds=2**32 - 1)),
            ("takes too long", pbes2(iterations=1_000_001)),
            ("takes too long", pbes2(iterations=2**64)),
            ("takes too long", pbes2(iterations=1, length=2**31)),
            ("takes too long", pbes1(iterations=2**40)),
            ("not supported", scrypt()),
        ):
            with self.subTest(words, text=text[:120]):
                self.assert_refused(words, text, "p")

    def test_texts_of_the_permitted_length_take_linear_time(self):
        """Each would take minutes if a search were quadratic."""
        size = 65_536
        for part in (
            *("-", "-BEGIN ", "\\", "\\n", "\\u", "A", "0", "a:", "DEK-Info: ", "/", "ssh-", "id_"),
            *("-----BEGIN PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----A", ".pem", "%", "&", "{"),
        ):
            for start in ("", "-----BEGIN PRIVATE KEY-----\n"):
                with self.subTest(part, start=start):
                    text = start + part * (size // len(part))
                    self.assertIsNotNone(refusal(text[:size]))
        for nested in (b"\x30", b"\x30\x80", b"\x30\x82\xff\xff"):
            self.assertIsNotNone(refusal(pem("PRIVATE KEY", nested * 9_000)))


def text_of(data):
    return len(data).to_bytes(4) + data


def openssh(algorithm, rounds=None):
    """Return a key of OpenSSH's format that nothing but its header is right of."""
    cipher, kdf, options = (b"none", b"none", b"")
    if rounds is not None:
        cipher, kdf, options = b"aes256-ctr", b"bcrypt", text_of(b"x" * 16) + rounds.to_bytes(4)
    header = b"".join(map(text_of, (cipher, kdf, options)))
    public = text_of(text_of(algorithm) + text_of(b"x" * 32))
    body = b"openssh-key-v1\0" + header + (1).to_bytes(4) + public + text_of(b"x" * 160)
    return pem("OPENSSH PRIVATE KEY", body)


def der(tag, *parts):
    content = b"".join(parts)
    length = len(content)
    head = bytes([length]) if length < 128 else bytes([0x82]) + length.to_bytes(2)
    return bytes([tag]) + head + content


def number(value):
    return der(2, value.to_bytes(value.bit_length() // 8 + 1))


def identifier(hexadecimal):
    return der(6, bytes.fromhex(hexadecimal))


def encrypted(*algorithm):
    body = der(0x30, der(0x30, *algorithm), der(4, b"x" * 160))
    return pem("ENCRYPTED PRIVATE KEY", body)


def pbes2(iterations, length=None):
    numbers = [number(value) for value in (iterations, length) if value is not None]
    derivation = der(0x30, identifier("2a864886f70d01050c"), der(0x30, der(4, b"salt"), *numbers))
    cipher = der(0x30, identifier("60864801650304012a"), der(4, b"x" * 16))
    return encrypted(identifier("2a864886f70d01050d"), der(0x30, derivation, cipher))


def pbes1(iterations):
    parameters = der(0x30, der(4, b"saltsalt"), number(iterations))
    return encrypted(identifier("2a864886f70d010c0103"), parameters)


def scrypt():
    costs = (number(2**30), number(8), number(1))
    derivation = der(0x30, identifier("2b06010401da47040b"), der(0x30, der(4, b"salt"), *costs))
    cipher = der(0x30, identifier("60864801650304012a"), der(4, b"x" * 16))
    return encrypted(identifier("2a864886f70d01050d"), der(0x30, derivation, cipher))
