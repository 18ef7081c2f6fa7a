"""What a file is, by its first bytes: names and file types of uploads are often wrong."""

import re
import zipfile

from django.db.models import TextChoices


class Format(TextChoices):
    """A format that a file seems to have; the label completes "It seems to be …"."""

    GZIP = "gzip", "compressed with gzip"
    ZSTD = "zstd", "compressed with Zstandard"
    BZIP2 = "bzip2", "compressed with bzip2"
    XZ = "xz", "compressed with xz"
    ZIP = "zip", "a ZIP archive"
    LZ4 = "lz4", "compressed with LZ4"
    COMPRESS = "compress", "compressed with compress (.Z)"
    LZIP = "lzip", "compressed with lzip"
    SNAPPY = "snappy", "compressed with Snappy"
    SEVEN_ZIP = "7z", "a 7-Zip archive"
    RAR = "rar", "a RAR archive"
    TAR = "tar", "a TAR archive"
    PARQUET = "parquet", "a Parquet file"
    SQLITE = "sqlite", "a SQLite file"
    DUCKDB = "duckdb", "a DuckDB file"
    EXCEL = "excel", "an Excel workbook"
    OPEN_DOCUMENT = "opendocument", "an OpenDocument file"
    OFFICE = "office", "a document of Microsoft Office, such as an .xls workbook"
    PDF = "pdf", "a PDF file"
    AVRO = "avro", "an Avro file"
    ORC = "orc", "an ORC file"
    ARROW = "arrow", "an Arrow or Feather file"
    HDF5 = "hdf5", "an HDF5 file"
    IMAGE = "image", "an image"
    GIT_LFS = "git_lfs", "a pointer of Git LFS, not the file that it stands for"
    HTML = "html", "a web page, such as an error page in place of a download"
    XML = "xml", "an XML file"
    RTF = "rtf", "an RTF document"
    JSON = "json", "a JSON file"
    TEXT = "text", "a text file, such as CSV"
    BINARY = "binary", "a binary file of an unknown format"


# The compressions that are read: of CSV and JSON files, which are read from start to end.
EXPANDABLE = (Format.GZIP, Format.ZSTD, Format.BZIP2, Format.XZ, Format.ZIP)
COMPRESSIONS = (*EXPANDABLE, Format.LZ4, Format.COMPRESS, Format.LZIP, Format.SNAPPY)
# Frames of Zstandard with something else than data, in any place: pzstd begins with one.
SKIPPABLE = tuple(bytes([first]) + b"\x2a\x4d\x18" for first in range(0x50, 0x60))
SIGNATURES: tuple[tuple[int, bytes, Format], ...] = (
    (0, b"\x1f\x8b\x08", Format.GZIP),
    (0, b"\x28\xb5\x2f\xfd", Format.ZSTD),
    *((0, signature, Format.ZSTD) for signature in SKIPPABLE),
    *((0, b"BZh%d1AY&SY" % level, Format.BZIP2) for level in range(1, 10)),
    *((0, b"BZh%d\x17rE8P\x90" % level, Format.BZIP2) for level in range(1, 10)),  # of nothing
    (0, b"\xfd7zXZ\0", Format.XZ),
    (0, b"PK\x03\x04", Format.ZIP),
    (0, b"PK\x05\x06", Format.ZIP),
    (0, b"\x04\x22\x4d\x18", Format.LZ4),
    (0, b"\x1f\x9d", Format.COMPRESS),
    (0, b"LZIP", Format.LZIP),
    (0, b"\xff\x06\0\0sNaPpY", Format.SNAPPY),
    (0, b"7z\xbc\xaf\x27\x1c", Format.SEVEN_ZIP),
    (0, b"Rar!\x1a\x07", Format.RAR),
    (257, b"ustar", Format.TAR),
    (0, b"PAR1", Format.PARQUET),
    (0, b"PARE", Format.PARQUET),
    (0, b"SQLite format 3\0", Format.SQLITE),
    (8, b"DUCK", Format.DUCKDB),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Format.OFFICE),
    (0, b"%PDF-", Format.PDF),
    (0, b"Obj\x01", Format.AVRO),
    (0, b"ORC", Format.ORC),
    (0, b"ARROW1", Format.ARROW),
    (0, b"FEA1", Format.ARROW),
    (0, b"\x89HDF\r\n\x1a\n", Format.HDF5),
    (0, b"\x89PNG\r\n\x1a\n", Format.IMAGE),
    (0, b"\xff\xd8\xff", Format.IMAGE),
    (0, b"GIF8", Format.IMAGE),
    (0, b"version https://git-lfs.github.com/spec/", Format.GIT_LFS),
    (0, b"{\\rtf", Format.RTF),
)
SIGNATURE_BYTES = 262
# A CSV file may begin with these letters.
SIGNATURES_OF_TEXT = {b"LZIP", b"ORC", b"GIF8", b"PAR1", b"PARE", b"FEA1", b"ARROW1"}
CONTROLS = re.compile(rb"[\0-\x08\x0e-\x1a\x1c-\x1e]")
MARKUP = re.compile(r"\s*(?:<!--.*?-->\s*)*<([!?]?[a-z][\w:-]*)", re.IGNORECASE | re.DOTALL)
HTML_TAGS = {"!doctype", "html", "head", "body"}
JSON_START = re.compile(r'\s*(?:\{\s*"(?:[^"\\]|\\.)*"\s*:|\[\s*[\[{]\s*["}{\]])')
MARKUP_CHARACTERS = 4_096


def format_of(start: bytes, is_text: bool = False) -> Format | None:
    """Return the format that the first bytes of a file belong to; None for text and the unknown.

    With `is_text`, a line of letters is text, whatever else it may be.
    """
    for offset, signature, found in SIGNATURES:
        if start.startswith(signature, offset):
            is_line = is_text and signature in SIGNATURES_OF_TEXT and _is_line(start)
            return None if is_line else found
    return None


def format_of_text(text: str) -> Format | None:
    """Return the format that the start of a text belongs to, if it is another than CSV."""
    start = text[:MARKUP_CHARACTERS]
    if markup := MARKUP.match(start):
        return Format.HTML if markup[1].lower() in HTML_TAGS else Format.XML
    if JSON_START.match(start):
        return Format.JSON
    return None


def format_of_archive(names: list[str]) -> Format:
    """Return the format of a ZIP archive with files of these names."""
    if "[Content_Types].xml" in names:
        return Format.EXCEL if any(name.startswith("xl/") for name in names) else Format.OFFICE
    return Format.OPEN_DOCUMENT if "META-INF/manifest.xml" in names else Format.ZIP


def guess_format(start: bytes) -> Format:
    """Return what the first bytes of a file seem to be, in any case."""
    if found := format_of(start):
        return found
    try:
        text = start.decode("utf-8-sig")
    except UnicodeDecodeError:
        return Format.BINARY
    return Format.BINARY if "\0" in text else format_of_text(text) or Format.TEXT


def members_of(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Return the files in a ZIP archive, without folders and the hidden files of desktops."""
    return [
        member
        for member in archive.infolist()
        if not member.is_dir() and not member.filename.rpartition("/")[2].startswith(".")
    ]


def _is_line(start: bytes) -> bool:
    """Return whether the first line is printable ASCII, and no control characters follow."""
    line = re.split(rb"[\r\n]", start, maxsplit=1)[0]
    is_printable = line.isascii() and line.decode("ascii").replace("\t", " ").isprintable()
    return is_printable and not CONTROLS.search(start)
