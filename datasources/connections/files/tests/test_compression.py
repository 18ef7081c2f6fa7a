"""Compressed CSV and JSON files, whatever their names."""

import bz2
import gzip
import io
import json
import lzma
import sys
import zipfile
import zlib
from unittest import mock

from datasources.connections.files import expansion
from datasources.connections.testing.files import FilesTestCase

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CSV = "id,name\n1,Zoë\n2,Bob\n".encode()
COLUMNS = [("id", "BIGINT"), ("name", "VARCHAR")]
ROWS = [(1, "Zoë"), (2, "Bob")]
JSON = json.dumps([{"id": id, "name": name} for id, name in ROWS]).encode()
COMPRESSIONS = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstd.compress,
}


def zipped(*contents: bytes, names: tuple[str, ...] = ("a.csv", "b.csv")) -> bytes:
    """Return a ZIP archive with these files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in zip(names, contents, strict=False):
            archive.writestr(name, content)
    return buffer.getvalue()


class CompressionTests(FilesTestCase):
    def test_compressed_csv_and_json_files_are_read_like_plain_ones(self):
        for name, compress in (COMPRESSIONS | {"zip": zipped}).items():
            for type_name, content in (("csv", CSV), ("json", JSON)):
                with self.subTest(name, type=type_name):
                    self.assertEqual(self.read(type_name, compress(content)), (COLUMNS, ROWS, []))

    def test_plain_content_under_the_name_of_a_compressed_file_is_read(self):
        (self.root / "people.csv.gz").write_bytes(CSV)
        self.assertEqual(self.connect("csv", "people.csv.gz").execute("FROM data").fetchall(), ROWS)

    def test_all_members_are_read_and_what_follows_them_is_ignored(self):
        for name, compress in COMPRESSIONS.items():
            first, second = compress(CSV[:11]), compress(CSV[11:])
            for rest in (b"", b"\0" * 1000, b"garbage"):
                with self.subTest(name, rest=rest):
                    self.assertEqual(self.read("csv", first + second + rest)[1], ROWS)

    def test_frames_that_zstandard_skips_are_skipped_wherever_they_are(self):
        # pzstd writes one before each of its frames.
        for magic in (b"\x50\x2a\x4d\x18", b"\x5f\x2a\x4d\x18"):
            skipped = magic + b"\4\0\0\0\7\0\0\0"
            first, second = zstd.compress(CSV[:11]), zstd.compress(CSV[11:])
            for content in (
                skipped + first + skipped + second,
                first + skipped + second + skipped,
                first + magic + b"\0\0\0\0" + second,
            ):
                for size in (5, expansion.CHUNK_BYTES):
                    with (
                        self.subTest(content, size=size),
                        mock.patch.object(expansion, "CHUNK_BYTES", size),
                    ):
                        self.assertEqual(self.read("csv", content)[1], ROWS)

    def test_member_that_begins_at_the_end_of_a_chunk_is_read(self):
        compressed = gzip.compress(CSV[:11]) + gzip.compress(CSV[11:])
        for size in range(1, 40):
            with self.subTest(size), mock.patch.object(expansion, "CHUNK_BYTES", size):
                self.assertEqual(self.read("csv", compressed)[1], ROWS)

    def test_file_that_is_cut_off_is_truncated(self):
        for name, compress in COMPRESSIONS.items():
            whole = compress(CSV)
            for kept in (len(whole) - 1, len(whole) - 6, len(whole) // 2):
                with self.subTest(name, kept=kept):
                    self.assertEqual(self.failure("csv", whole[:kept]), ("FILE_TRUNCATED", {}))
        self.assertEqual(self.failure("csv", zipped(CSV)[:-30]), ("FILE_TRUNCATED", {}))
        self.assertEqual(self.failure("csv", gzip.compress(CSV)[:10]), ("FILE_TRUNCATED", {}))

    def test_file_with_a_wrong_checksum_or_damaged_data_is_malformed(self):
        compressed = gzip.compress(CSV)
        damaged = {
            "checksum": compressed[:-8] + b"\0\0\0\0" + compressed[-4:],
            "bzip2": bz2.compress(CSV)[:10] + b"\0\0\0\0" + bz2.compress(CSV)[14:],
            "xz": lzma.compress(CSV)[:-12] + b"x" * 12,
            "zstd": zstd.compress(CSV)[:5] + b"\xff" * 30,
        }
        for name, content in damaged.items():
            with self.subTest(name):
                self.assertEqual(self.failure("csv", content), ("FILE_MALFORMED", {}))

    def test_compression_that_cannot_be_expanded_is_named(self):
        for found, content in (
            ("lz4", b"\x04\x22\x4d\x18" + bytes(50)),
            ("lz4", b"\x02\x21\x4c\x18" + bytes(50)),
            ("compress", b"\x1f\x9d\x90" + bytes(50)),
            ("lzip", b"LZIP\x01" + bytes(50)),
            ("snappy", b"\xff\x06\0\0sNaPpY" + bytes(50)),
        ):
            with self.subTest(found):
                self.assertEqual(
                    self.failure("csv", content), ("FILE_COMPRESSION", {"found": found})
                )

    def test_compressed_file_of_a_type_that_is_read_in_any_order_is_refused(self):
        for type_name in ("parquet", "sqlite", "duckdb"):
            for found, compress in (COMPRESSIONS | {"zip": zipped}).items():
                with self.subTest(type_name, found=found):
                    self.assertEqual(
                        self.failure(type_name, compress(b"x" * 100)),
                        ("FILE_COMPRESSION", {"found": found}),
                    )

    def test_archive_of_several_files_and_other_archives_are_another_type(self):
        workbook = zipped(b"", b"", names=("[Content_Types].xml", "xl/workbook.xml"))
        sheet = zipped(b"", b"", names=("META-INF/manifest.xml", "content.xml"))
        tar = b"a.csv" + bytes(252) + b"ustar" + bytes(250)
        for found, content in (
            ("zip", zipped(CSV, CSV)),
            ("zip", zipped()),
            ("excel", workbook),
            ("opendocument", sheet),
            ("tar", tar),
            ("tar", gzip.compress(tar)),
            ("gzip", gzip.compress(gzip.compress(CSV))),
            ("parquet", gzip.compress(b"PAR1\x15\x04\0\0")),
            ("7z", b"7z\xbc\xaf\x27\x1c" + bytes(50)),
            ("rar", b"Rar!\x1a\x07\0" + bytes(50)),
        ):
            with self.subTest(found):
                self.assertEqual(
                    self.failure("csv", content), ("FILE_OTHER_TYPE", {"found": found})
                )

    def test_archive_of_one_file_with_folders_and_hidden_files_is_read(self):
        for name in ("__MACOSX/a/._b.csv", "a/.DS_Store", ".directory"):
            with self.subTest(name):
                content = zipped(b"", CSV, b"x", names=("a/", "a/b.csv", name))
                self.assertEqual(self.read("csv", content)[1], ROWS)

    def test_archive_with_a_list_of_files_that_cannot_be_read_is_malformed(self):
        for offset, damage, expected in (
            (6, b"\xff", ("FILE_COMPRESSION", {"found": "zip"})),  # a version that does not exist
            (46, b"\xff", ("FILE_MALFORMED", {})),  # a name that is no UTF-8
        ):
            content = bytearray(zipped(CSV, names=("é.csv",)))
            start = content.index(b"PK\x01\x02") + offset
            content[start : start + 1] = damage
            with self.subTest(offset):
                self.assertEqual(self.failure("csv", bytes(content)), expected)

    def test_encrypted_archive_is_said_to_be_encrypted(self):
        content = bytearray(zipped(CSV))
        for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            content[content.index(signature) + offset] |= 1
        self.assertEqual(self.failure("csv", bytes(content)), ("FILE_ENCRYPTED", {}))

    def test_compressed_nothing_is_empty(self):
        for name, compress in (COMPRESSIONS | {"zip": zipped}).items():
            with self.subTest(name):
                self.assertEqual(self.failure("csv", compress(b"")), ("FILE_EMPTY", {}))

    def test_large_compressed_files_are_read_to_the_end(self):
        count = 400_000
        lines = "".join(f"{number},{number * 7919}\n" for number in range(count))
        objects = "".join(f'{{"a":{number}}}\n' for number in range(count))
        for type_name, text in (("csv", "a,b\n" + lines), ("json", objects)):
            (self.root / "large").write_bytes(gzip.compress(text.encode(), 1))
            connection = self.connect(type_name, "large")
            with self.subTest(type_name):
                total = connection.execute("SELECT count(*), sum(a) FROM data").fetchall()
                self.assertEqual(total, [(count, count * (count - 1) // 2)])

    def test_only_the_start_of_a_bomb_is_expanded(self):
        rows = b"a,b\n" + b"1,x\n" * 50_000_000
        compressor = zlib.compressobj(9, wbits=31)
        bomb = compressor.compress(rows) + compressor.flush()
        (self.root / "bomb").write_bytes(bomb)
        sizes = []
        real_pieces = expansion._pieces

        def counted(*args):
            for piece in real_pieces(*args):
                sizes.append(len(piece))
                yield piece

        with mock.patch.object(expansion, "_pieces", counted):
            self.assertEqual(self.try_out("csv", "bomb"), ("OK", "CSV, 2 columns"))
        self.assertLessEqual(max(sizes), expansion.PIECE_BYTES)
        self.assertLess(sum(sizes), len(rows) / 4)

    def test_file_that_expands_to_more_than_the_limit_is_too_large(self):
        with mock.patch.object(expansion, "EXPANDED_MAX_BYTES", 1000):
            content = gzip.compress(b"a,b\n" + b"1,x\n" * 1000)
            self.assertEqual(self.failure("csv", content), ("FILE_TOO_LARGE", {}))

    def test_window_larger_than_the_limit_is_refused(self):
        window = [{"id": lzma.FILTER_LZMA2, "dict_size": 2 * expansion.WINDOW_MAX_BYTES}]
        content = lzma.compress(CSV, format=lzma.FORMAT_XZ, filters=window)
        self.assertEqual(self.failure("csv", content), ("FILE_COMPRESSION", {"found": "xz"}))
