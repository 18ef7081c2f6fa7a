"""When a request is all there: no byte earlier, no byte later, however it is cut in pieces."""

from django.test import SimpleTestCase

from rivergen import settings
from rivergen.arrival import CHUNKS_MAX_BYTES, LINE_MAX_BYTES, Arrival

GET = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /api/v1/auth/token HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
LIMIT = settings.REQUEST_BODY_MAX_BYTES
WHOLE = (
    GET,
    b"\r\n" + GET,
    b"GET / HTTP/1.0\r\nA: b\r\n\r\n",
    POST + b"Content-Length: 0\r\n\r\n",
    POST + b"content-length:\t2 \r\n\r\n{}",
    POST + b"Content-Length: 4\r\nX-Content-Length: 9\r\n\r\n\r\n\r\n",
    CHUNKED + b"0\r\n\r\n",
    CHUNKED + b"2\r\n{}\r\n0\r\n\r\n",
    CHUNKED + b'1;a="b"\r\n{\r\n1 ; c\r\n}\r\n00\r\nTrailer: 0\r\n\r\n',
    CHUNKED + b"A\r\n\r\n\r\n0\r\n\r\n0\r\n0\r\n\r\n",
)
# There is no use in waiting for more of these.
HOPELESS = (
    b"\x16\x03\x01\x02",
    b"GET /\r\n",
    b"GET / HTTP/2.0\r\n",
    b"GET / \n",
    b"GET / HTTP/1.1\r\nA: b\n",
    b"GET /" + b"a" * LINE_MAX_BYTES,
    b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200_000,
    POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n",
    POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
    POST + b"Content-Length: -2\r\n\r\n",
    POST + b"Content-Length: " + b"9" * 400 + b"\r\n\r\n",
    POST + b"Content-Length: %d\r\n\r\n" % (LIMIT + 1),
    CHUNKED + b"zz\r\n",
    CHUNKED + b"-1\r\n",
    CHUNKED + b"0x1\r\n",
    CHUNKED + b"1;" + b"a" * LINE_MAX_BYTES,
    CHUNKED + b"1\r\na" + b"x" * 10 + b"\r\n",
    CHUNKED + b"fffffff\r\n" + b" " * (LIMIT + 1),
    CHUNKED + b"1;abcdef\r\n \r\n" * (CHUNKS_MAX_BYTES // 13 + 1),
)


def arrived(*pieces: bytes) -> Arrival:
    """Let these come one after the other."""
    arrival = Arrival(None, 0)
    for piece in pieces:
        arrival.add(piece)
    return arrival


class ArrivalTests(SimpleTestCase):
    def test_a_request_is_complete_with_its_last_byte(self):
        for request in WHOLE:
            with self.subTest(request=request):
                self.assertTrue(arrived(request).is_complete)
                for place in range(1, len(request)):
                    head, rest = request[:place], request[place:]
                    self.assertFalse(arrived(head).is_complete, head)
                    self.assertTrue(arrived(head, rest).is_complete, head)
                bytewise = arrived(*(request[place : place + 1] for place in range(len(request))))
                self.assertTrue(bytewise.is_complete)
                self.assertFalse(bytewise.is_cut)

    def test_what_comes_behind_it_changes_nothing(self):
        for request in WHOLE:
            with self.subTest(request=request):
                both = arrived(request + GET)
                self.assertTrue(both.is_complete)
                self.assertFalse(both.is_cut)

    def test_what_will_be_refused_is_not_waited_for(self):
        for start in HOPELESS:
            with self.subTest(start=start[:80]):
                arrival = arrived(start)
                self.assertTrue(arrival.is_complete)
                self.assertTrue(arrival.is_cut)

    def test_a_body_at_the_limit_is_waited_for(self):
        for start, rest in (
            (POST + b"Content-Length: %d\r\n\r\n" % LIMIT + b" " * (LIMIT - 1), b" "),
            (CHUNKED + b"%x\r\n" % LIMIT + b" " * LIMIT, b"\r\n0\r\n\r\n"),
        ):
            self.assertFalse(arrived(start).is_complete)
            self.assertTrue(arrived(start, rest).is_complete)
            self.assertFalse(arrived(start, rest).is_cut)

    def test_says_who_waits_for_a_word_to_go_on(self):
        expecting = POST + b"Expect: 100-Continue\r\nContent-Length: 2\r\n\r\n"
        self.assertTrue(arrived(expecting).wants_continue)
        self.assertFalse(arrived(expecting, b"{}").wants_continue)
        too_large = expecting.replace(b"2\r\n", b"%d\r\n" % (LIMIT + 1))
        self.assertFalse(arrived(too_large).wants_continue)
