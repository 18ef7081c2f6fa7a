"""Private keys as people paste them: mended if they can be read in one way only, else refused."""

import base64
import binascii
import re
import unicodedata
from html import unescape as unescape_html
from textwrap import wrap
from typing import Any
from urllib.parse import unquote, unquote_plus

from datasources.connections.ssh.private_keys import (
    CERTIFICATE,
    DAMAGED,
    OPENSSH,
    PUBLIC_KEY,
    TRUNCATED,
    Envelope,
    KeyRefused,
    examine,
    label_of,
    open_private_key,
)

# The first or last line of PEM, also without line breaks and with the dashes of a word processor.
# No part of it has more than a few characters, so that the search takes linear time.
DASHES = r"[-\u2010-\u2015\u2212]{1,8}"
BOUNDARY = re.compile(rf"{DASHES}\s?(BEGIN|END)\b\s?([A-Z0-9 \r\n]{{0,40}}?)\s?{DASHES}")
# What an encrypted key has between its first line and Base64 (RFC 1421, section 4.6.1).
ENCRYPTION = re.compile(r"DEK-Info:\s{0,4}([A-Z0-9-]{1,20}),\s{0,4}([0-9A-Fa-f]{16,32})")
HEADER = re.compile(r"^\s{0,80}[A-Za-z0-9-]{1,40}:.*$", re.MULTILINE)
BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
LEFT_OUT = re.compile(r"\*{2,}|\.{3}|…|[•●]|\[\.\.|<[^<>]{0,40}>|(?i:redacted|snip)")
# What quotes or separates the lines of a key, and is no Base64.
BETWEEN = re.compile(r"[\s\"'`|>,;]+")
HTML_BREAK = re.compile(r"</?(?:br|p|div|span|pre|code)\b[^<>]{0,200}>", re.IGNORECASE)
ESCAPED_CODE = re.compile(r"\\{1,8}u([0-9a-fA-F]{4})")
ESCAPED_BREAK = re.compile(r"(?:\\{1,8}r)?\\{1,8}n|\\{1,8}r|\\{1,8}(?=\s)")
ESCAPED_SIGN = re.compile(r"\\{1,8}(?=[/\"'=+])")
PUBLIC_LINE = re.compile(
    r"(?:^|\s)(?:sk-)?(?:ssh|ecdsa)-[a-z0-9@.-]{2,60}\s|\bAAAA(?:B3NzaC1|C3NzaC1|E2VjZHNh)"
)
PATH = re.compile(
    r"(?:file:|~|\.{0,2}/|[A-Za-z]:[\\/])\S{1,1000}|\S{0,1000}(?:\.(?:pem|key|ppk|pub)|id_[a-z0-9]+)"
)
REFERENCE = re.compile(r"\$\{?[\w:./ -]{1,200}\}?|\$\{\{.{0,200}\}\}|[a-z]{2,20}://\S{1,1000}")

HOW = (
    "Paste the whole file, from the line -----BEGIN … PRIVATE KEY----- to the line that begins "
    "with -----END."
)
NO_KEY = f"This is no private key. {HOW}"
TWO_KEYS = "These are several private keys. Enter one."
MASKED = f"A part of the private key is left out or masked. {HOW}"
SSH_CERTIFICATE = "This is an SSH certificate. Enter the private key that it was issued for."
PUTTY = (
    "This is a key in PuTTY's format (.ppk). Convert it with `puttygen FILE.ppk -O "
    "private-openssh-new -o FILE`, or in PuTTYgen with Conversions > Export OpenSSH key, and enter "
    "that."
)
SSH_COM = (
    "This is a key in the format of SSH Communications. Convert it with `ssh-keygen -i -f FILE`, "
    "and enter that."
)
PGP = "This is a PGP key. Enter an SSH key, which begins with -----BEGIN … PRIVATE KEY-----."
JWK = "This is JSON. Enter the private key in PEM or OpenSSH format, which begins with -----BEGIN."
FILE = f"This is the path of a file, which is not read. {HOW}"
VARIABLE = f"This is a reference, which is not resolved here. {HOW}"
FINGERPRINT = f"This is the fingerprint of a key. {HOW}"


def mend_private_key(text: str) -> str:
    """Return a pasted private key in the form in which OpenSSH and OpenSSL write it.

    Raises KeyRefused, with a hint, if it is something else or can never be used. It does not try
    a passphrase.
    """
    return read_private_key(text)[0]


def check_private_key(text: str, passphrase: str | None) -> tuple[str, Any]:
    """Return a pasted private key in mended form, and the opened key. Raises KeyRefused."""
    mended, envelope = read_private_key(text)
    return mended, open_private_key(envelope, mended, passphrase)


def read_private_key(text: str) -> tuple[str, Envelope]:
    """Return a pasted private key in mended form, and its envelope. Raises KeyRefused."""
    readable = unescape(text)
    if BOUNDARY.search(readable) is None:
        readable = unwrap(readable)
    lines = [*BOUNDARY.finditer(readable)]
    ends = [*(line.start() for line in lines), len(readable)]
    found = {
        mend_block("".join(line[2].split()), readable[line.end() : end])
        for line, end in zip(lines, ends[1:], strict=True)
        if line[1] == "BEGIN" and re.fullmatch(r"[A-Z0-9 \s]*PRIVATE\s?KEY\s?", line[2])
    }
    if not found:
        raise KeyRefused(name_what_it_is(readable, ["".join(line[2].split()) for line in lines]))
    if len(found) > 1:
        raise KeyRefused(TWO_KEYS)
    return found.pop()


def unescape(text: str) -> str:
    r"""Return text without invisible characters and escapes, such as `\n` spelled out.

    Base64 has no backslash, percent sign or ampersand, so each of them begins an escape.
    """
    text = HTML_BREAK.sub("\n", unescape_html(text))
    text = "".join(
        " " if unicodedata.category(character) == "Zs" else character
        for character in text
        if unicodedata.category(character) != "Cf"
    )
    if text.lstrip().startswith("PuTTY-User-Key-File"):
        raise KeyRefused(PUTTY)
    if "BEGIN+" in text:
        text = unquote_plus(text)
    elif re.search("BEGIN%20|%0[ADad]", text):
        text = unquote(text)
    text = ESCAPED_CODE.sub(lambda code: chr(int(code[1], 16)), text)
    if BOUNDARY.search(text):
        text = ESCAPED_SIGN.sub("", ESCAPED_BREAK.sub("\n", text))
    return text.replace("\r\n", "\n").replace("\r", "\n")


def unwrap(text: str) -> str:
    """Return the PEM that text is Base64 of; or text that lacks its first and last line, with them.

    Other text is returned unchanged.
    """
    body = from_base64(re.sub(r"^\s*(?:data:[^,\s]{0,100};base64,|base64:)", "", text))
    if body is None:
        return text
    if label := label_of(body):
        return f"-----BEGIN {label}-----\n{base64.b64encode(body).decode()}"
    try:
        # UTF-16, which PowerShell writes, is ASCII between null bytes.
        decoded = unescape(body.lstrip(b"\xff\xfe").replace(b"\0", b"").decode())
    except UnicodeDecodeError:
        return text
    return decoded if BOUNDARY.search(decoded) or PUBLIC_LINE.search(decoded) else text


def from_base64(text: str) -> bytes | None:
    """Return what text is Base64 of, whatever separates its lines; None if it is not Base64."""
    compact = BETWEEN.sub("", text)
    if not BASE64.fullmatch(compact):
        return None
    unpadded = compact.rstrip("=")
    try:
        return base64.b64decode(unpadded + "=" * (-len(unpadded) % 4), validate=True)
    except binascii.Error:
        return None


def mend_block(label: str, text: str) -> tuple[str, Envelope]:
    """Return the PEM of the text between two boundaries, and its envelope. Raises KeyRefused.

    The content decides which format it is, not the label that it was pasted with.
    """
    if label.startswith("SSH2"):
        raise KeyRefused(SSH_COM)
    headers, cipher = "", None
    if match := ENCRYPTION.search(text):
        cipher = match[1]
        # Without a line break, Base64 follows at once: the cipher says how long its IV is.
        vector = match[2][: 16 if "DES" in cipher else 32]
        headers = f"Proc-Type: 4,ENCRYPTED\nDEK-Info: {cipher},{vector.upper()}\n\n"
        text = text[match.start(2) + len(vector) :]
    body = from_base64(HEADER.sub("", text))
    if body is None:
        if LEFT_OUT.search(text):
            raise KeyRefused(MASKED)
        # One letter too many is all that can be wrong with text of these letters.
        is_cut_off = re.fullmatch(r"[A-Za-z0-9+/]*", BETWEEN.sub("", text))
        raise KeyRefused(TRUNCATED if is_cut_off else DAMAGED)
    if cipher is None:
        known = label_of(body)
        if known is None:
            raise KeyRefused(DAMAGED)
        label = known
    else:
        label = f"{label.removesuffix('PRIVATEKEY')} PRIVATE KEY"
    envelope = examine(label, body, cipher)
    lines = wrap(base64.b64encode(body).decode(), 70 if label == OPENSSH else 64)
    middle = "\n".join(lines)
    return f"-----BEGIN {label}-----\n{headers}{middle}\n-----END {label}-----\n", envelope


def name_what_it_is(text: str, labels: list[str]) -> str:
    """Return a sentence that says what was pasted in place of a private key."""
    line = text.strip().strip("\"'")
    if any(label.startswith("PGP") for label in labels):
        return PGP
    if any("CERTIFICATE" in label for label in labels):
        return CERTIFICATE
    if "-cert-v01@openssh.com" in text:
        return SSH_CERTIFICATE
    if any("PUBLICKEY" in label for label in labels) or PUBLIC_LINE.search(text):
        return PUBLIC_KEY
    if line.startswith("{"):
        return JWK
    if re.match(r"(SHA256|MD5):", line):
        return FINGERPRINT
    if PATH.fullmatch(line):
        return FILE
    return VARIABLE if REFERENCE.fullmatch(line) else NO_KEY
