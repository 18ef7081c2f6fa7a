"""CSV files as spreadsheets and programs write them, compared with the module `csv`."""

import csv
import io

from datasources.connections.testing.files import FilesTestCase


class CSVTests(FilesTestCase):
    def assert_like_csv(self, text, warnings=(), delimiter=",", skipped=0, **options):
        """Assert that names and values are those that the module `csv` reads."""
        columns, rows, found = self.read("csv", text.encode())
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, **options)
        header, *expected = [values for values in reader if values][skipped:]
        self.assertEqual([name for name, _ in columns], header)
        shown = [["" if value is None else str(value) for value in row] for row in rows]
        self.assertEqual(shown, expected)
        self.assertEqual(found, [*warnings])

    def test_usual_files_are_read_like_the_module_csv_does(self):
        for text, delimiter in (
            ("a,b\n1,x\n", ","),
            ("a;b\n1;x\n", ";"),
            ("a\tb\n1\tx\n", "\t"),
            ("a|b\n1|x\n", "|"),
            ("a,b\r\n1,x\r\n", ","),
            ("a,b\r1,x\r2,y\r", ","),
            ("a,b\r\n1,x\n2,y\r\n3,z\n", ","),
            ("a,b\r1,x\n2,y\r\n3,z", ","),
            ("a,b\n", ","),
            ("a,b", ","),
            ("\n\r\n\na,b\n\n1,x\n\n", ","),
            ("id\n1\n2\n", ","),
            ("#id,b\n1,x\n", ","),
            ('a,b\n1,"x\ny"\n2,z\n', ","),
            ('a,b\r\n1,"x\ny"\r\n2,z\r\n', ","),
            ('a,b\n1,"x ""y"", z"\n2,5" pipe\n', ","),
            ('"a","b"\n"1","x"\n', ","),
            ("name;price\nx;1,5\ny;2,5\nz;3,75\n", ";"),
            ("a;b\n1,5;2.000,50\n", ";"),
            ("date|note\n2024-01-01|a, b; c\n", "|"),
            ("ORC,b\n1,x\n", ","),
            ("PAR1,b\n1,x\n", ","),
            ("BZh,b\n1,x\n", ","),
            ("zip,x\n01234,1\n", ","),
        ):
            with self.subTest(text):
                self.assert_like_csv(text, delimiter=delimiter)

    def test_other_quotes_and_escapes_are_recognized(self):
        self.assert_like_csv(
            'a,b\n1,"x\\"y, z"\n2,z\n', escapechar="\\", doublequote=False, quotechar='"'
        )
        self.assert_like_csv("a,b\n1,'x,y'\n2,z\n", quotechar="'")

    def test_separator_line_of_excel_names_the_delimiter(self):
        texts = "sep=;\r\na;b\r\n1;x\r\n", '"sep=,"\na,b\n1,x\n', "SEP=^\na^b\n1^x\n"
        for text in texts:
            with self.subTest(text):
                columns, rows, _ = self.read("csv", text.encode())
                self.assertEqual((columns[1][0], rows), ("b", [(1, "x")]))

    def test_title_and_comments_are_skipped(self):
        self.assert_like_csv("# made by me, on monday\n# again\na,b\n1,x\n", skipped=2)
        for text in ("Report of 2024\n\nid,b\n1,x\n2,y\n", "Made by me\nid,b\n1,x\n2,y\n"):
            with self.subTest(text):
                self.assert_like_csv(text, ["COLUMNS_GUESSED"], skipped=1)

    def test_unusual_delimiter_is_read_with_a_warning(self):
        for delimiter in ("\x1f", "\x01", "^", "~", ":"):
            with self.subTest(delimiter):
                text = f"a{delimiter}b\n1{delimiter}x\n"
                self.assert_like_csv(text, ["COLUMNS_GUESSED"], delimiter)
        columns, rows, warnings = self.read("csv", b"a||b\n1||x\n")
        self.assertEqual([name for name, _ in columns], ["a", "b"])
        self.assertEqual((rows, warnings), ([(1, "x")], ["COLUMNS_GUESSED"]))

    def test_columns_that_spaces_seem_to_separate_have_a_warning(self):
        self.assert_like_csv("id name\n1 x\n2 y\n", ["COLUMNS_GUESSED"])
        self.assert_like_csv("note\nhello world\nbye\n")

    def test_columns_that_another_sign_seems_to_separate_have_a_warning(self):
        for sign in "§*!#%@=/&+·\x1c":
            with self.subTest(sign):
                text = f"id{sign}name{sign}x\n1{sign}bob{sign}2\n2{sign}al{sign}3\n"
                self.assertEqual(self.read("csv", text.encode())[2], ["COLUMNS_GUESSED"])
        for text in (
            "email\na@b.example\nc@d.example\n",
            "e-mail\na@b.example\nb-c@d.example\n",
            "day\n2020-01-01\n2020-01-02\n",
            "first_name\nmary_ann\njo_ann\n",
            "price (EUR)\n5\n6\n",
            "a@b.example\n",
        ):
            with self.subTest(text):
                self.assertEqual(self.read("csv", text.encode())[2], [])

    def test_values_of_a_single_column_may_have_unusual_delimiters(self):
        for text in (
            "url\nhttps://a.example/b\nhttp://c.example:80/d\nnone\n",
            "home page\nhttps://a.example/b\nhttps://c.example/d\nhttps://e.example/\n",
            "time\n10:00\n11:30\n",
            "seen_at\n2024-01-01 10:00:00\n2024-01-02\n",
            "ip\n::1\nfe80::1\n10.0.0.1\n",
            "path\n~/x\n/y\n",
            "Name:\nBob\nAl\n",
        ):
            with self.subTest(text):
                columns, rows, warnings = self.read("csv", text.encode())
                header, *values = text.splitlines()
                self.assertEqual(([name for name, _ in columns], warnings), ([header], []))
                self.assertEqual(len(rows), len(values))
        for text, line in (
            ("a:b\n1:2\n3:4:5\n", 3),
            ("a~b~c\n1~2~3\n4~5\n", 3),
            ("a:b:c\n1:2\n3:4\n", 2),
        ):
            with self.subTest(text):
                self.assertEqual(
                    self.failure("csv", text.encode()), ("FILE_MALFORMED", {"line": line})
                )

    def test_two_delimiters_that_fit_have_a_warning(self):
        self.assertIn("COLUMNS_GUESSED", self.read("csv", b"a,b;c\n1,2;3\n4,5;6\n")[2])

    def test_ragged_file_is_malformed_at_the_first_line_that_differs(self):
        for text, line in (
            ("a,b,c\n1,2,3\n4,5,6,7\n8,9,10\n", 3),
            ("a,b,c\n1,2,3\n4,5\n8,9,10\n", 3),
            ("a,b,c\n1,2\n4,5,6,7\n8\n", 2),
            ("a;b;c\r\n1;2;3\r\n4;5\r\n", 3),
            ("a,b\r1,2\r3\r", 3),
            ("id,name,x\n1,a,2\n2,b,3\nTotal: 2 rows\n", 4),
            ("a,b\n1,2,3\n4,5,6\n", 2),
            ("a\n1,2\n3,4\n", 2),
            ("name\nDoe, John\nRoe, Jane\n", 2),
            ("note\nhello, world\nbye\na, b, c\n", 2),
            ('a,b\n1,"x\ny"\n2\n', 4),
            ("\n\na,b\n1,2\n3\n", 5),
            ("sep=;\na;b\n1;2\n3\n", 4),
            ('a,b\n1,"x\n2,z\n3,u\n', 2),
            ('a,b\n1,"x"y\n2,"z"\n', 2),
            ("a,b\n1,2\n   \n3,4\n", 3),
            ('a\nx\n"1,5"\ny;z\n', 4),
            ("a\nx\nb;c\nd,e\n", 3),
        ):
            with self.subTest(text):
                self.assertEqual(
                    self.failure("csv", text.encode()), ("FILE_MALFORMED", {"line": line})
                )

    def test_fault_far_behind_the_start_is_found_with_its_line(self):
        rows = "a,b\n" + "".join(f"{number},x\n" for number in range(60_000))
        for last in ("1,x,3\n", "1\n", '1,"x\n', 'é,"x"y\n'):
            with self.subTest(last):
                content = (rows + last + "5,z\n").encode()
                self.assertEqual(self.failure("csv", content), ("FILE_MALFORMED", {"line": 60_002}))

    def test_text_in_a_late_row_of_a_column_of_numbers_makes_it_text(self):
        rows = "a,b\n" + "".join(f"{number},x\n" for number in range(100_000))
        columns, found, warnings = self.read("csv", (rows + "oops,y\n").encode())
        self.assertEqual((columns[0], warnings), (("a", "VARCHAR"), []))
        self.assertEqual(found[-1], ("oops", "y"))

    def test_types_of_a_large_file_have_a_warning(self):
        rows = "a,b\n" + "".join(f"{number},{'x' * 50}\n" for number in range(100_000))
        self.assertEqual(self.read("csv", rows.encode())[2], ["TYPES_SAMPLED"])

    def test_names_that_are_missing_or_alike_have_a_warning(self):
        for text, names in (
            ("a,a,A\n1,2,3\n", ["a", "a_1", "A_2"]),
            ("a,,c\n1,2,3\n", ["a", "column1", "c"]),
            ("a,b,\n1,2,\n", ["a", "b", "column2"]),
            ("1,2\n3,4\n", ["column0", "column1"]),
        ):
            with self.subTest(text):
                columns, _, warnings = self.read("csv", text.encode())
                self.assertEqual([name for name, _ in columns], names)
                self.assertEqual(warnings, ["COLUMNS_RENAMED"])

    def test_names_with_quotes_and_spaces_stay_as_they_are(self):
        self.assert_like_csv('it\'s,"say ""hi""",{x}\n1,2,3\n')

    def test_thousands_of_columns_and_long_lines_are_read(self):
        header = ",".join(f"c{number}" for number in range(3000))
        self.assertEqual(len(self.read("csv", f"{header}\n{header}\n".encode())[0]), 3000)
        self.assert_like_csv("a,b\n1," + "x" * 1_500_000 + "\n")

    def test_file_of_one_endless_line_is_malformed_at_once(self):
        content = b"0" * 30_000_000
        self.assertEqual(self.failure("csv", content), ("FILE_MALFORMED", {"line": 1}))

    def test_nul_in_a_name_is_malformed(self):
        self.assertEqual(self.failure("csv", b"\na\0,b\n1,2\n"), ("FILE_MALFORMED", {"line": 2}))
