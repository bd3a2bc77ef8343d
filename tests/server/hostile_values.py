"""Values that break what does not expect them: for paths, queries, headers, and members of JSON."""

from __future__ import annotations

LONG = 20_000
TEXTS = [
    b"", b" ", b"0", b"1", b"-1", b"2", b"9" * 30, b"9" * 4400, b"-" + b"9" * 30, b"1e309", b"nan", b"inf", b"-0.0", b"1.5",
    b"1_000", b"0x10", "١٢".encode(), "²".encode(), b"\xed\xa0\x80", b"\0", b"a\0b", b"%", b"%zz", b"%00", b"%2F",
    b"%ed%a0%80", b"\xff\xfe", b"\xc3", b"a" * 300, b"a" * LONG, b"..", b".", b"../../etc/passwd", b"a/samples",
    b"samples", b"<script>alert(1)</script>", b"'\";--", b"a\r\nX-Evil: 1", b"\x1b[31m", "é日本\u202e".encode(), b"null",
    b"true", b"[]", b"{}", b"name", b"-name", b"frechet", b"cosine", b"external:mine", b"timm:resnet18@/etc/hostname", b"fox",
    b"owl", b"auto", b"best_" + b"9" * 4400, b"best_3", b"gaussian_density", b"first_moment", b"W10", b"WyJuYW1lIiwgIlx1ZDgwMCIsIDFd",
    b"WyJuYW1lIiwgImEiLCA5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OV0", b"/", b"//", b"/\\evil", b"https://evil.example/", b",", b"," * 3000,
    b"\\", b"tag:a", b'"', b"meta.\0", b"a" * 64 + b".png", b"-" * 200,
]  # fmt: skip
JSON = [
    b"null", b"true", b"0", b"-1", b"1", b"1.5", b"1e400", b"-1e400", b"NaN", b"Infinity", b"9" * 30, b"9" * 4400, b"-" + b"9" * 4400,
    b"1" + b"0" * 400, b'""', b'" "', b'"a"', b'"fox"', b'"\\ud800"', b'"\\u0000"', b'"\xff"', b'"a\\r\\nb"', b'"' + b"a" * LONG + b'"',
    b"[]", b"[null]", b"[[]]", b"{}", b'{"a": 1}', b'{"": ""}', b'{"\\ud800": 1}', b"[" * 500 + b"]" * 500, b"[" * LONG + b"]" * LONG,
    b'{"a":' * 500 + b"1" + b"}" * 500, b"[0.6, 0.8, 0.0]", b"[1e39, 1, 1]", b"[1e-320, 0, 0]", b"[0, 0, 0]", b"[1, 2]",
    b'["a"]', b'["\\ud800"]', b'[["tag", "a"]]', b'[["tag", ["a"]], ["\\ud800", "b"]]', b'{"tag~": "a"}', b'{"meta.a": ["b"]}',
    b'{"text": 1e400}', b'{"text": 2}', b'"data:;base64,AAAA"', b'"iVBORw0KGgo="', b'"external:mine"', b'"/etc/passwd"', b'"auto"',
    b"[" + b"1," * LONG + b"1]", b"-0.0", b"2147483648", b"9223372036854775808", b"[9223372036854775808]", b"tru", b'"', b"{", b"",
]  # fmt: skip
HEADERS = [
    (b"Content-Type", [
        b"application/json", b"application/json; charset=utf-16", b"application/json; charset=\xff", b"text/plain", b"", b";", b"a\x80",
        b"multipart/form-data", b"multipart/form-data; boundary=", b"multipart/form-data; boundary=" + b"x" * 300,
        b"multipart/form-data; boundary=\xff\xfe", b'multipart/form-data; boundary="x', b"multipart/form-data; charset=nonsense; boundary=x",
        b"application/x-www-form-urlencoded", b"application/x-www-form-urlencoded; charset=nonsense", b"application/json" + b";a=b" * 2000,
    ]),
    (b"Content-Encoding", [b"gzip", b"br", b"identity", b"\xff"]),
    (b"Accept", [b"text/html", b"*/*", b"application/json", b"\xff", b"," * 5000]),
    (b"Accept-Encoding", [b"gzip", b"*;q=nan", b"\xff"]),
    (b"Range", [b"bytes=0-0", b"bytes=-1", b"bytes=5-1", b"bytes=" + b"9" * 4400 + b"-", b"bytes=0-0," * 1000 + b"1-2", b"bytes=a-b", b"\xff"]),
    (b"If-None-Match", [b"*", b"\xff", b'"' * 1000]),
    (b"If-Range", [b"\xff", b"Thu, 99 Foo 99999999999999 99:99:99 GMT"]),
    (b"If-Modified-Since", [b"Thu, 99 Foo 99999999999999 99:99:99 GMT", b"\xff"]),
    (b"Cookie", [b"engine_key=\xff", b"engine_key=" + b"a" * LONG, b"=;=;=", b"engine_key=\"\\777\"", b"engine_key=a; engine_key=b", b"\xed\xa0\x80"]),
    (b"Authorization", [b"Bearer", b"Bearer ", b"Bearer \xff", b"Bearer " + b"a" * LONG, b"Basic Og==", b"bearer ek_\xc3\xa9", b"\xff"]),
    (b"Origin", [b"null", b"http://", b"\xff", b"http://[::1", b"file://"]),
    (b"Sec-Fetch-Site", [b"cross-site", b"none", b"\xff"]),
    (b"Host", [b"", b"[::1", b"a:b:c", b"\xff", b"localhost:99999999", b"a" * 3000]),
    (b"Referer", [b"\xff", b"http://[::1"]),
    (b"X-Forwarded-For", [b"\xff", b"1.2.3.4, " * 1000]),
    (b"X-Forwarded-Proto", [b"gopher", b"\xff"]),
    (b"Forwarded", [b"for=\xff;=;"]),
    (b"Expect", [b"100-continue", b"nonsense"]),
    (b"Accept-Language", [b"\xff", b"de;q=nan"]),
    (b"X-HTTP-Method-Override", [b"DELETE"]),
    (b"Last-Event-ID", [b"\xff"]),
]  # fmt: skip
BODIES = [
    b"", b"{", b"[" * LONG, b"\xff\xfe", b"\xef\xbb\xbf{}", b"{}".decode().encode("utf-16"), b"null", b"[]", b"0", b"9" * 4400,
    b"--x\r\n\r\n--x--\r\n", b"--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\r\nb.zip\"\r\n\r\nzz\r\n--x--\r\n",
    b"--x\r\nContent-Disposition: form-data; name=\"query\"\r\nContent-Type: text/plain; charset=nonsense\r\n\r\n{}\r\n--x--\r\n",
    b"--x\r\nContent-Disposition: form-data; name=\"query\"\r\n\r\n\xff\xfe\r\n--x--\r\n",
    b"--x\r\nContent-Disposition: form-data\r\n\r\nzz\r\n--x--\r\n", b"--x\r\nContent-Disposition: form-data; name=\"\xff\"\r\n\r\nzz",
    b"--x\r\nContent-Disposition: form-data; name=\"image\"; filename=\"\xff\0\"\r\nContent-Type: a\x80\r\n\r\nzz\r\n--x--\r\n",
    b"--x\r\nContent-Disposition: form-data; name=\"details\"\r\n\r\n{\"name\": \"up\"}\r\n"
    b"--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\0.npy\"\r\n\r\nzz\r\n--x--\r\n",
    b"--x\r\nContent-Disposition: form-data; name=\"details\"\r\n\r\n{\"name\": \"up\", \"samples\": " + b"9" * 4400 + b"}\r\n"
    b"--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.npy\"\r\n\r\nzz\r\n--x--\r\n",
    b"--x\r\nContent-Disposition: form-data; name=\"picture\"; filename=\"p.png\"\r\n\r\nzz\r\n--x\r\n"
    b"Content-Disposition: form-data; name=\"as\"\r\n\r\n\xed\xa0\x80\r\n--x--\r\n",
    b"--x\r\n" + b"Content-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--x\r\n" * 200, b"key=%ff&after=//evil", b"key=" + b"a" * 5000,
    b"key=%00&after=%0d%0aX:%20y", b"a=b&" * 3000, b"after=%ed%a0%80",
]  # fmt: skip
