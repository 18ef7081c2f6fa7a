"""Text files in other encodings than UTF-8, and with byte order marks."""

import codecs
import gzip

from datasources.connections.testing.files import FilesTestCase

COLUMNS = [("id", "BIGINT"), ("größe", "VARCHAR")]
ROWS = [(1, "café"), (2, "x")]
CSV = "id,größe\n1,café\n2,x\n"
ARRAY = '[{"id": 1, "größe": "café"}, {"id": 2, "größe": "x"}]'
LINES = '{"id": 1, "größe": "café"}\r\n\r\n{"id": 2, "größe": "x"}\r\n'
TEXTS = (("csv", CSV), ("json", ARRAY), ("json", LINES))
MARKS = {
    "utf-8": codecs.BOM_UTF8,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}


class EncodingTests(FilesTestCase):
    def test_byte_order_mark_is_skipped_and_its_encoding_read(self):
        for encoding, mark in MARKS.items():
            for type_name, text in TEXTS:
                content = mark + text.encode(encoding)
                for compress in (bytes, gzip.compress):
                    with self.subTest(encoding, text=text, compress=compress):
                        self.assertEqual(
                            self.read(type_name, compress(content)), (COLUMNS, ROWS, [])
                        )

    def test_unicode_without_a_mark_is_recognized_by_its_delimiters(self):
        chinese = "名,城\n李,北京\n"
        for encoding in MARKS:
            for type_name, text in TEXTS:
                with self.subTest(encoding, text=text):
                    self.assertEqual(
                        self.read(type_name, text.encode(encoding)), (COLUMNS, ROWS, [])
                    )
            with self.subTest(encoding):
                columns, rows, _ = self.read("csv", chinese.encode(encoding))
                self.assertEqual([name for name, _ in columns], ["名", "城"])
                self.assertEqual(rows, [("李", "北京")])

    def test_latin_1_and_windows_1252_are_read_with_a_warning(self):
        for encoding in ("latin-1", "cp1252"):
            for type_name, text in TEXTS:
                with self.subTest(encoding, text=text):
                    self.assertEqual(
                        self.read(type_name, text.encode(encoding)),
                        (COLUMNS, ROWS, ["ENCODING_GUESSED"]),
                    )
        for word in (
            "1\xa0000 €",
            "2\xa0500\xa0000",
            "«\xa0oui\xa0»",
            "1\xa0000\xa0€",
            "“5 €”",
            "größe",
            "l’été",
            "Ærø",
            "15 m²",
            "¿Qué?",
        ):
            with self.subTest(word):
                rows = self.read("csv", f"id,b\n1,{word}\n".encode("cp1252"))[1]
                self.assertEqual(rows, [(1, word)])

    def test_other_encodings_are_refused_with_the_first_line_that_shows_it(self):
        for encoding, text in (
            ("cp1251", "имя,город\nИван,Москва\n"),
            ("koi8-r", "имя,город\nИван,Москва\n"),
            ("cp1253", "όνομα,πόλη\nΓιάννης,Αθήνα\n"),
            ("shift-jis", "名前,市\n太郎,東京\n"),
            ("euc-jp", "名前,市\n太郎,東京\n"),
            ("gbk", "姓名,城市\n李雷,北京\n"),
            ("gbk", "名,城\n李,京\n"),
            ("euc-kr", "이름,도시\n철수,서울\n"),
            ("iso2022_jp", "名前,市\n太郎,東京\n"),
            ("cp850", "nombre,país\nJuan,allá\nMaría,está\n"),
        ):
            with self.subTest(encoding):
                self.assertEqual(
                    self.failure("csv", text.encode(encoding)), ("FILE_ENCODING", {"line": 1})
                )
                behind = ("id\n" * 5 + text).encode(encoding)
                self.assertEqual(self.failure("csv", behind), ("FILE_ENCODING", {"line": 6}))

    def test_damaged_utf_8_is_refused_and_not_read_as_windows_1252(self):
        content = "a,b\n1,café\n2,résumé\n3,".encode() + b"\xe9\n"
        self.assertEqual(self.failure("csv", content), ("FILE_ENCODING", {"line": 4}))
        surrogate = b'[{"a": "x"},\n{"a": "\xc3\xa9\xc3\xa9\xc3\xa9 \xed\xa0\x80"}]'
        self.assertEqual(self.failure("json", surrogate), ("FILE_ENCODING", {"line": 2}))
        half = codecs.BOM_UTF16_LE + "a,b\n1,2\n".encode("utf-16-le") + b"\x00\xd8"
        self.assertEqual(self.failure("csv", half)[0], "FILE_ENCODING")

    def test_large_file_in_utf_16_is_read_to_the_end(self):
        count = 300_000
        text = "a,b\r\n" + "".join(f"{number},é\r\n" for number in range(count))
        (self.root / "large").write_bytes(text.encode("utf-16"))
        found = self.connect("csv", "large").execute("SELECT count(*), sum(a), max(b) FROM data")
        self.assertEqual(found.fetchall(), [(count, count * (count - 1) // 2, "é")])

    def test_character_on_the_border_of_the_start_is_no_fault(self):
        for padding in range(4):
            text = "a,b\n1," + "x" * padding + "é" * 3_000_000 + "\n"
            content = ("a,b\n" + "y,z\n" * 10 + text).encode()
            with self.subTest(padding):
                code, _ = self.failure("csv", content)
                self.assertEqual(code, "FILE_MALFORMED")  # the line is longer than DuckDB reads
        text = '{"a": "éé"}\n' * 400_000
        for padding in range(4):
            with self.subTest(padding):
                content = (" " * padding + text).encode()
                self.assertEqual(self.read("json", content)[0], [("a", "VARCHAR")])

    def test_nul_in_a_value_is_no_sign_of_utf_16(self):
        self.assertEqual(self.read("csv", b"a,b\n1,x\0y\n2,z\n")[1], [(1, "x\0y"), (2, "z")])
