"""The encoding of a text file: stated by a byte order mark, certain by its bytes, or guessed."""

import codecs
import re
from typing import NamedTuple

from datasources.connections.failures import Code, ConnectionFailure
from datasources.connections.files.formats import CONTROLS, Format

UTF_8 = "utf-8"
# UTF-32 first: its mark begins with that of UTF-16.
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, UTF_8),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
WIDE = ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be")
SINGLE_BYTE = "cp1252"
STRUCTURE = '\r\n\t,;|"{}[]:'
# Of the bytes that are such characters in ASCII, so many are these characters in UTF-16, too.
STRUCTURE_SHARE = 0.5
# Of the other characters in texts of Western languages, so many are letters ...
LETTERS = re.compile(r"[À-ÖØ-öø-ÿŠšŽžŒœŸªº’‘“”–—…€£§°«»¿¡©®™·•±²³µ½¼¾×]")
LETTER_SHARE = 0.9
# ... and so many stand alone, or are two small letters or marks beside one, as in "größe". In
# Cyrillic, Greek or Chinese texts they come in longer runs, or other pairs.
WESTERN_SHARE = 0.5
WESTERN_RUN = re.compile(rb"[\x80-\xff]|[\xdf-\xff\x80\x85\x91-\x93][\x80-\xbf\xdf-\xff]")
CONTROL_SHARE_OF_TEXT = 0.02
HIGH = re.compile(rb"[\x80-\xff]+")


class Encoding(NamedTuple):
    """An encoding by its name in Python, and the length of the byte order mark before the text."""

    name: str
    mark_bytes: int = 0
    is_guess: bool = False


def encoding_of(head: bytes, is_whole: bool) -> Encoding:
    """Return the encoding of a text that begins with `head`, or that it is as a whole.

    Raises ConnectionFailure: FILE_ENCODING, with the first line that cannot be read, or
    FILE_OTHER_TYPE if it is no text.
    """
    for mark, name in MARKS:
        if head.startswith(mark):
            _decode(head[len(mark) :], name, is_whole)
            return Encoding(name, len(mark))
    try:
        decode(head, UTF_8, is_whole)
        error = None
    except UnicodeDecodeError as found:
        error = found
    if 0 in head and (wide := _wide_encoding(head, is_whole)):
        return Encoding(wide)
    if error is None:
        return Encoding(UTF_8)
    if len(CONTROLS.findall(head)) > CONTROL_SHARE_OF_TEXT * len(head):
        raise ConnectionFailure(Code.FILE_OTHER_TYPE, found=Format.BINARY.value)
    if _is_damaged_utf_8(head) or not _is_western(head):
        raise ConnectionFailure(Code.FILE_ENCODING, line=head.count(b"\n", 0, error.start) + 1)
    return Encoding(SINGLE_BYTE, is_guess=True)


def decode(data: bytes, name: str, is_whole: bool) -> str:
    """Return data as text; without the last character, if more follows and it may be cut off."""
    return codecs.getincrementaldecoder(name)("strict").decode(data, is_whole)


def _decode(data: bytes, name: str, is_whole: bool) -> str:
    """Return data as text. Raises ConnectionFailure (FILE_ENCODING)."""
    try:
        return decode(data, name, is_whole)
    except UnicodeDecodeError as error:
        before = data[: error.start].decode(name, "ignore")
        raise ConnectionFailure(Code.FILE_ENCODING, line=before.count("\n") + 1) from None


def _wide_encoding(head: bytes, is_whole: bool) -> str | None:
    """Return the encoding in which a text with NULs has delimiters and line ends, but no NUL."""
    structure = sum(map(head.count, STRUCTURE.encode()))
    for name in WIDE:
        try:
            text = decode(head, name, is_whole)
        except UnicodeDecodeError:
            continue
        score = sum(map(text.count, STRUCTURE))
        if "\0" not in text and score and score >= STRUCTURE_SHARE * structure:
            return name
    return None


def _is_damaged_utf_8(head: bytes) -> bool:
    """Return whether most characters beyond ASCII are valid UTF-8, though not all."""
    text = head.decode(UTF_8, "replace")
    bad = text.count("\N{REPLACEMENT CHARACTER}")
    return len(text) - len(text.encode("ascii", "ignore")) > 2 * bad


def _is_western(head: bytes) -> bool:
    """Return whether a text in Windows-1252, of which Latin-1 is a part, would have these bytes."""
    try:
        text = head.decode(SINGLE_BYTE)
    except UnicodeDecodeError:
        return False
    runs = HIGH.findall(head)
    total = sum(map(len, runs))
    western = sum(len(run) for run in runs if WESTERN_RUN.fullmatch(run))
    is_western = western >= WESTERN_SHARE * total
    return is_western and len(LETTERS.findall(text)) >= LETTER_SHARE * total
