"""Strings that often break programs, grouped by what is unusual about them."""

RESERVED = [
    *("null", "None", "True", "nan", "inf", "self", "__proto__", "__class__", "select", "user"),
    *("default", "information_schema", "Administrator", "me", "NUL", "LPT1", "*", "_", "..."),
    *("%PATH%",),
]
NUMBERS = [
    *("0", "-1", "00", "1.0", ".5", "-0.0", "1E400", "1_000", "1.000,00", "0x1F", "0o17", "1/2"),
    *("1L", "2147483647", "-2147483649", "9223372036854775808", "9" * 100),
    *("1.7976931348623157e308", "١٢٣", "१२३", "½", "一二三", "৪", "$1.00", "1st"),
]
INJECTIONS = [
    *("'", "`", "';--", '" OR ""="', "'); SELECT 1; --", "\\", "%", "%%", "\\%", "$1", "?", "*/"),
    *("E'\\x41'", "pg_sleep(1)", "{1,2}", "@@version", "| id", "$(id)", "> /tmp/x", "\nid\n"),
    *("--help", "</script>", "<img src=x onerror=alert(1)>", "&#0;", "<!--", "<![CDATA[x]]>"),
    *("<!DOCTYPE x [<!ENTITY y 'z'>]>", "data:text/html,x", "<svg/onload=1>", "@SUM(1)"),
    *("{% debug %}", "${7*7}", "<%= 7*7 %>", "{0}", "{name}", "%(name)s", "%d", "%x%x"),
    *("a\r\nSet-Cookie: b=c", "a\nINFO forged", "\x1b[31mred\x1b[0m", "..\\..\\boot.ini"),
    *("C:\\x", "....//", "..%c0%af", "a/../b", "./a", "~/.ssh", "*)(uid=*", '{"$gt": ""}'),
    *("a;b=c", "a?b", "x' and '1"),
]
UNICODE = [
    *(
        "İ",
        "ẞ",
        "e\u0301",
        "\u1e9b\u0323",
        "\u202eabc",
        "\u2066a\u2069",
        "pаypal",
        "👩\u200d👩\u200d👧",
    ),
    *("é", "Å", "A\u030a", "ﷺ", "Å", "\u0344", "ı", "ß", "ſ", "Σ", "ǰ", "K", "straße", "\u0301"),
    *("a\u0328\u0301", "⃝", "שלום", "\u202aabc\u202c", "abc\u200f", "abאבcd", "\u200b"),
    *("a\u200db", "\ufeff", "abc\ufeff", "\u180e", "ㅤ", "️", "￼", "аdmin", "ＡＤＭＩＮ", "ⓐⓓⓜⓘⓝ"),
    *(
        "рассказ",
        "日本語",
        "ไทย",
        "😀",
        "👍🏽",
        "🇩",
        "#️⃣",
        "🏻",
        "𝒳",
        "\uf8ff",
        "\U0010fffd",
        "\uffff",
    ),
    *(
        "\U0001fffe",
        "\u0378",
        "\u2028",
        "‘a’",
        "–",
        "…",
        "⁄",
        "．",
        "：",
        "％",
        "＂",
        "․",
        "．．／",
    ),
    *("ｱ", "각", "क़", "µ", "İ" * 200),
]
SPACES = [
    *("", "  ", "\n", "\r\n", "\x0c", "\xa0", "\u2000", "\u2007", "\u202f", "\u3000", "a "),
    *("a b", "\ta\t", "\na", "a\nb", "a\tb", "\u3000a\u3000", "\x85a", "a\x1f", " \t\n"),
    *("\n" * 300, "a\n", " a "),
]
CONTROLS = [
    *(
        "\x01\x02\x03\x04\x05\x06\x07\x08\t\n\x0b\x0c\r\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f",
    ),
    *(
        "\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f\x90\x91\x92\x93\x94\x95\x96\x97\x98\x99\x9a\x9b\x9c\x9d\x9e\x9f",
    ),
    *("a\x01b", "a\x1bb", "\x7f", "\x08", "\x0b", "\x1f", "\x9b31m", "\x1b]0;x\x07"),
]
UNSTORABLE = [
    *("\x00", "\x00a", "\x00" * 100, "\ud800", "a\ud83d", "\udc80", "\ud83d\ud83d\ude00"),
    *("\udbff\ue000",),
]
LONG = [
    *("a" * length for length in (64, 65, 150, 151, 253, 255, 256, 1_000, 1_001, 4_097, 10_001)),
    *("é" * 255, "é" * 256, "😀" * 255, "😀" * 16_384, '"' * 40_000, "a." * 126 + "a", "a/" * 501),
    *("(" * 1_000, "'" * 255, "a b " * 64, "\u0301" * 255, "\U0001f468\u200d" * 127, "=" * 2_000),
]
JSON = [
    *("{}", "[[]]", '"a"', '{"a": 1}', '{"a"', '{"type": "service_account"}', '{"a": 1, "a": 2}'),
    *("[NaN]", '"\\ud800"', '{"a": "\\ud800"}'),
    *(
        '{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":1}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}',
    ),
    *("\\u0041", "\\0", "- a", "&a *a"),
]
DATES_AND_IDS = [
    *("2024-12-01T11:00:00Z", "2024-13-01", "24:00", "9999-12-31T23:59:59Z"),
    *("1969-12-31T23:59:59Z", "2024-12-01T11:00:00+99:99", "0001-01-01T00:00:00+23:00"),
    *("00000000-0000-0000-0000-000000000000", "{0-0}", "507f1f77bcf86cd799439011"),
    *("eyJhbGciOiJub25lIn0.e30.", "eyJhbGciOiJIUzI1NiJ9.eyJ1c2VyX2lkIjoxfQ.x", "Basic YTpi"),
    *('"1"', "***", "••••", "[REDACTED]", "**name**", "${env:HOME}", "${file:../x}"),
    *("${SECRET_KEY}", "api_key", "WyJuYW1lIixmYWxzZSwiYSIsMV0", "W10", "===="),
    *("WyJuYW1lIixmYWxzZSwiXHVkODAwIiwxXQ", "MQ", "77+9"),
]
FILES = [
    *("a.csv", "a.", "a b.csv", "a:b", "a?b.csv", "a.csv ", "a.csv\n", "a/", "s3://a/b"),
    *("a.csv?x=1", "[a].csv", "**", "a.csv.gz", "proc/self/environ"),
    *(
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.csv",
    ),
    *("a\u202efdc.csv", "a.c\u200bsv", "a/..b/c"),
]
HOSTS_AND_URLS = [
    *("localhost", "localhost.", "127.1", "0.0.0.0", "0x7f.1", "127.0.0.1.", "256.1.1.1"),
    *("1.2.3.4.5", "①.①.①.①", "[::1]", "::ffff:127.0.0.1", "fe80::1%eth0", "1::2::3", ":::"),
    *("10.0.0.0/8", "metadata.google.internal", "a..example", "a.", "a-.example", "xn--"),
    *("xn--bcher-kva.example", "BÜCHER.example", "a\xad.example", "ａ.example", "a.example:5432"),
    *("a@b.example", "a,b", "/tmp", "http://a.example"),
    *("postgresql://u:p@a.example:5432/b?sslmode=require", "postgresql:///b", "postgresql://"),
    *("postgresql://[::1/b", "postgresql://a.example:x/b", "postgresql://a.example/%ff"),
    *("postgresql:a", "postgresql://a\\@b.example/c", "//a", "postgresql://a.example/b?a", "://"),
    *("POSTGRESQL://a.example/b", "a:b", "mysql://a.example/b", "gopher://a:1/_x", "\\\\a"),
]

STRINGS: list[str] = [
    *(RESERVED + NUMBERS + INJECTIONS + UNICODE + SPACES + CONTROLS + UNSTORABLE),
    *(LONG + JSON + DATES_AND_IDS + FILES + HOSTS_AND_URLS),
]
