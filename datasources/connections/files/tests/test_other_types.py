"""Files that are not what their type says, and Parquet files of other writers than DuckDB."""

import base64
import datetime
import zlib

import duckdb

from datasources.connections.failures import Code, message_of
from datasources.connections.files.formats import Format, format_of, guess_format
from datasources.connections.testing.files import FilesTestCase, write_files


def parquet(text: str) -> bytes:
    """Return a file that pyarrow wrote, which is no dependency for these few."""
    return zlib.decompress(base64.b85decode(text))


NAMES_ALIKE = parquet(
    r"c-nQ3zY4-Y493%=935N}Jh-"
    r"7t4~4d<pi`H2QyhwKaFl`$YOQ~#zLu|Nt}0FjLc+%{Uy?H4Oc79{j!|$UQEC7XE<F$4!8#%R0Uqe9Yz{+tuD12wq"
    r"7UdtV(3}Gfvb50Yd1kcX%!pL%tsOw6UZVJRG46?(QOfsjioZZyCVl5GVjTZGPC-TZ1`oVBVhvSU=%jCJzeWdQZ-"
    r"Ft+xB=5Z*_a#9S`AbkxtU7iuo9K&y%y{?_X71APf"
)
NAME_EMPTY = parquet(
    r"c-kdS%?iRW7|V*3y}(ym_zt_QC~U(Cdh%j#-"
    r"iB{5#y}6c+4=YQe$zl8Bq5|ZoN59waY0IiCd~lU%p}1dv~a~1R!`lzzqX{r$dv_*a_rcHrI2el3lh%+6MTAPS%Y-"
    r"<EA9MmPy*#s6R^z2Hr}88qwL19Y-1eW*{hG!Ww>RVUA3-i$McJiu#tmb>Dm{}"
)
INT96 = parquet(
    r"c-"
    r"jka3^EjD5LFRX(Gg_=GT21fWEdD2m_V430ScyfsWOPNNa~m}NU#+rXQbvPiZTI}sxnD1mN1AhNy<pds4>WhvPr74"
    r"F-QW%M1g{0USeKq9G)^jGZ}!YZ8X^=)xgFAC79GW#Jm_Z6bcfH3QJQ<bdw7TbQ6n;^2-"
    r"&<Qj3Z+^Yavp%=8TO3?*eiZm9y|0H8Ag74RA{"
)
NO_COLUMNS = parquet(
    r"c-jka3^EjDk(4oIkYFoL&PdHo6lGu#V~~`Q<PihXYCz1Op-_-"
    r"mR9Ko?qMKY$pqp4!lwYn;mReMtnV+X%WTt1JXDG?T;L5<j5CAj`0JDt}4*"
)
ENCRYPTED_FOOTER = parquet(
    r"c-jka406?HU|_g%rtE~2$E}?yNtIi&x*BXnBN=Z+X16c@;j-"
    r"ys?&R&JbxG4##_+!X^YGmo*G20lY5}!uZN3pPxhC?wz|_UZ`Y)Zgm=<{Q&D&xb3!%&nhyG`?S^2ILnaT0$$-"
    r";^`GBO$*_sd>LHP6gEEX2SdahkDODLb{&H?btOC^Io9q_QAY$x11}+c(5eNk=I&4=9|Mm=j!*UzC^*lqo4HO$7=U"
    r"yXEHtWxP`>VM5ut#h!V^C5d^-"
    r"sh%!C6I@)~97BCVlu%?sgM3h=aubUorhv6%14YV<5(^4aQ(RoVfdZL^X%+d&SrMV8#*u}F!P=2kp6M2jwzfcZDfy"
    r"*IIjP|w)tPzeN>*u!ImM~93=4o^VLee&bbp6fEc0SNna$OcWFIc+Vteg(Sn2Dbi&my5ea}iC7m5=TN|+V0<3Bs+s"
    r"xvSD?Yg;Ge2?%Wm3`|fIrhhH-"
    r"8N17WSHc=l7m~?PKcZBYT=Yzx@m5ONomq|+1`kWjH>P{MA+xaL_Cod3F$2PIwQw-"
    r"wqMkNRbN~;n|;mm)^97)bFjWxyNYe<TBEqN#fE(IWe=G@R7w11to?qm(T3WqbD9_#7y^J%4FLZq$0G"
)
ENCRYPTED_COLUMN = parquet(
    r"c-"
    r"jka3^LSbU|_gWc%k*ef~ngjFW+Ka_rU(E_U)q!mrv0Uof~xE2m92>d_OMzXLCa0^u_mV_n3QtMGL6q>=fmK_dFZ^"
    r"+>Ejo%d+#Gy+8TT{#dt|!-"
    r"@~*Saof_r~V<Xqvig$1!r5NMHxh8L}heDnScy7Q8pQ%W+o731d$*h$|7lF${@j3oSc!Gn<&Zx6i{W7U`&M4Nep64"
    r"k}{GyY78<!m8xtEl0Z38prBY2qu3!vHI5ohHc2&*nK3#bDT(Qf)k@i^mA;83sYRKIIU$t=sY+H#0p7kLhDth0nR!"
    r"6ryu_T~lKi5?bf8R0QE4hrxY#W}A1LFUTB&4}mY7ov6w6I4hKP8&01e0nYA!EIEGS4#adGtq3iy;Jx@Y(Wn<b`eo"
    r"97rfR|KV2g_e}t+5*+3<d-"
    r"Jpq=ti3XXd3t4XkBgknnH;dRVA$1!JJa9pgOKX&Z&*T`xbiTkWjN__6lH#Kr&ICs%9AX8oFQGv1V8x6^?x4RQD8<"
    r"6VjFFLSP65;QId`mnQLmTs2tOa|oONCF3klbDm*DMn8jU^p{~GBMb|f`vis2%{L28i!a5lL!NYhC)GNQDJFniEeU"
    r"1fo@_^QGU5XS!z*nW`3T6k(r)>o}r`;FpfY-MuX$yOinw4U&j{;0o{I@;&6osW#<-"
    r"q<`tJD<|U_s1J=dW%`wy`L<vPEG{^@<ia=Z#Mfh1pq(r)gW*cNDoB4(%IcpoHr{jx@ddbaxtHX{?_1hA?w`ci!lj"
    r"AL$_9V11o_TUJrF9Z8)B=Ec0|5PT`#b"
)

TEXTS = {
    "html": b"\n<!-- error --><!DOCTYPE html>\n<html><body>404, not found</body></html>\n",
    "xml": b"<?xml version='1.0'?>\n<Error><Code>NoSuchKey</Code></Error>\n",
    "git_lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
    "pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n",
    "rtf": b"{\\rtf1\\ansi\\deff0 hello}",
    "office": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600),
    "image": b"\x89PNG\r\n\x1a\n" + bytes(50),
    "avro": b"Obj\x01\x04\x14avro.codec" + bytes(20),
    "orc": b"ORC\x11\0\0\x0a\x06" + bytes(20),
    "arrow": b"ARROW1\0\0" + bytes(20),
    "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(50),
    "binary": bytes(range(256)) * 40,
}


class OtherTypeTests(FilesTestCase):
    def setUp(self):
        super().setUp()
        write_files(self.root)
        self.files = {path.name: path.read_bytes() for path in self.root.iterdir()}

    def test_file_that_is_another_type_is_named(self):
        for type_name in self.files:
            others = {name: content for name, content in self.files.items() if name != "csv"}
            for found, content in (TEXTS | others).items():
                if found != type_name:
                    with self.subTest(type_name, found=found):
                        expected = ("FILE_OTHER_TYPE", {"found": found})
                        self.assertEqual(self.failure(type_name, content), expected)
        for type_name in ("json", "parquet", "sqlite", "duckdb"):
            with self.subTest(type_name):
                expected = ("FILE_OTHER_TYPE", {"found": "text"})
                self.assertEqual(self.failure(type_name, self.files["csv"]), expected)

    def test_message_says_what_the_file_seems_to_be(self):
        message = message_of("FILE_OTHER_TYPE", {"found": "excel"})
        self.assertEqual(
            message, f"{Code.FILE_OTHER_TYPE.label} It seems to be {Format.EXCEL.label}."
        )

    def test_empty_file_of_each_type_is_empty(self):
        for type_name in self.files:
            with self.subTest(type_name):
                self.assertEqual(self.failure(type_name, b""), ("FILE_EMPTY", {}))

    def test_csv_of_white_space_and_marks_is_empty_but_a_header_is_not(self):
        for content in (b"\xef\xbb\xbf", b"\xff\xfe", b" \n\n  \r\n", bytes(5000), b"\x1a"):
            with self.subTest(content):
                self.assertEqual(self.failure("csv", content), ("FILE_EMPTY", {}))
        self.assertEqual([name for name, _ in self.read("csv", b"a,b\n")[0]], ["a", "b"])

    def test_line_of_letters_is_text_though_formats_begin_with_them(self):
        for start in (b"BZh,a\n1,2\n", b"LZIP\n", b"ORC;b\r\n", b"GIF8,b\n"):
            with self.subTest(start):
                self.assertIsNone(format_of(start, is_text=True))
        for start in (b"BZh91AY&SY\x94$|\x0e", b"BZh91AY&SY\n$|\x0e", b"BZh91AY&SYabcd\n\0"):
            with self.subTest(start):
                self.assertEqual(format_of(start, is_text=True), Format.BZIP2)
        self.assertEqual(format_of(b"ORC\n\x06\x0a\x04\x08", is_text=True), Format.ORC)
        self.assertEqual(guess_format(b"a,b\n"), Format.TEXT)

    def test_parquet_file_without_its_end_is_truncated(self):
        whole = self.files["parquet"]
        for kept in (len(whole) - 1, len(whole) - 20, len(whole) // 2, 8, 4):
            with self.subTest(kept):
                self.assertEqual(self.failure("parquet", whole[:kept]), ("FILE_TRUNCATED", {}))

    def test_parquet_file_with_a_damaged_footer_is_malformed(self):
        whole = self.files["parquet"]
        damaged = whole[:-60] + b"\xff" * 40 + whole[-20:]
        self.assertEqual(self.failure("parquet", damaged), ("FILE_MALFORMED", {}))

    def test_encrypted_parquet_file_is_said_to_be_encrypted(self):
        for content in (ENCRYPTED_FOOTER, ENCRYPTED_COLUMN):
            with self.subTest(content[-4:]):
                self.assertEqual(self.failure("parquet", content), ("FILE_ENCRYPTED", {}))

    def test_parquet_file_without_columns_is_empty_but_one_without_rows_is_not(self):
        self.assertEqual(self.failure("parquet", NO_COLUMNS), ("FILE_EMPTY", {}))
        path = self.root / "none"
        duckdb.execute(f"COPY (SELECT 1 AS a WHERE false) TO '{path}' (FORMAT parquet)")
        self.assertEqual(self.read("parquet", path.read_bytes()), ([("a", "INTEGER")], [], []))

    def test_parquet_names_that_are_missing_or_alike_have_a_warning(self):
        for content, names in ((NAMES_ALIKE, ["a", "A_1"]), (NAME_EMPTY, ["C0"])):
            with self.subTest(names):
                columns, _, warnings = self.read("parquet", content)
                self.assertEqual([name for name, _ in columns], names)
                self.assertEqual(warnings, ["COLUMNS_RENAMED"])

    def test_parquet_time_of_96_bits_is_read(self):
        columns, rows, warnings = self.read("parquet", INT96)
        self.assertEqual((columns, warnings), ([("t", "TIMESTAMP")], []))
        self.assertEqual(rows, [(datetime.datetime(2024, 1, 1),)])

    def test_database_file_without_its_end_is_truncated(self):
        for type_name in ("sqlite", "duckdb"):
            whole = self.files[type_name]
            # DuckDB may have cut off free blocks itself: only those that it needs count.
            end = len(whole) - 1 if type_name == "sqlite" else len(whole) // 4
            for kept in (end, 12_288, 4096, 99, 20):
                with self.subTest(type_name, kept=kept):
                    self.assertEqual(self.failure(type_name, whole[:kept]), ("FILE_TRUNCATED", {}))
            (self.root / "longer").write_bytes(whole + b"x" * 100)
            self.assertEqual(self.try_out(type_name, "longer")[0], "OK")

    def test_encrypted_duckdb_file_is_said_to_be_encrypted(self):
        path = self.root / "encrypted"
        connection = duckdb.connect(config={"force_mbedtls_unsafe": "true"})
        connection.execute(f"ATTACH '{path}' AS data (ENCRYPTION_KEY 'abc')")
        connection.execute("CREATE TABLE data.people (id INTEGER)")
        connection.close()
        self.assertEqual(self.try_out("duckdb", "encrypted"), (Code.FILE_ENCRYPTED, ""))

    def test_sqlite_file_of_a_writer_that_states_no_size_is_read(self):
        content = bytearray(self.files["sqlite"])
        content[28:32] = b"\0\0\xff\xff"
        content[92:96] = b"\xff\xff\xff\xff"  # SQLite before 3.7.0 leaves both as they were
        (self.root / "older").write_bytes(content)
        self.assertEqual(self.try_out("sqlite", "older")[0], "OK")

    def test_sqlite_file_that_is_damaged_is_query_failed(self):
        whole = self.files["sqlite"]
        content = whole[:100] + b"\xff" * (len(whole) - 100)
        self.assertEqual(self.failure("sqlite", content)[0], "QUERY_FAILED")
