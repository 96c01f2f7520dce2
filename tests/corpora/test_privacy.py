from __future__ import annotations

import re
from collections import Counter
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fromzero.corpora.privacy import scrub


def clean(text: str) -> str:
    return scrub(text, emails=True, ips=True, phones=True)[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Write to jane.doe+news@mail.example.co.uk.", "Write to <email>."),
        ("From: Jane Doe <jane_doe-1@uni-bremen.de>", "From: Jane Doe <<email>>"),
        ("mailto:a@b.org?subject=x, or x@y.io; z@qq.com", "mailto:<email>?subject=x, or <email>; <email>"),
        ("联系邮箱zhang.san@163.com，谢谢", "联系邮箱<email>，谢谢"),
        ("me@here.com", "<email>"),
        ('__author__ = "me@here.com"', '__author__ = "<email>"'),
        ("Failed password from 93.184.216.34 port 22", "Failed password from <ip> port 22"),
        ("http://208.80.152.201:8080/x", "http://<ip>:8080/x"),
        ("208.80.152.0/22 - 91.198.174.192.", "<ip>/22 - <ip>."),
        ("from 2620:0:861:ed1a::1 to [2a02:6b8:a::a]:443", "from <ip> to [<ip>]:443"),
        ("2001:0DB7:85a3:0000:0000:8a2e:0370:7334/64", "<ip>/64"),
        ("Call (415) 555-2671 or 415-555-2671 or 415.555.2671.", "Call <phone> or <phone> or <phone>."),
        ("Tel.: +49 30 901820, +1-415-555-2671, +14155552671", "Tel.: <phone>, <phone>, <phone>"),
        ("+86 138 1234 5678; +8613812345678; +44 (20) 7946-0958", "<phone>; <phone>; <phone>"),
        ("手机：13812345678，电话010-62781234", "手机：<phone>，电话<phone>"),
        ("打138-1234-5678或0755-12345678", "打<phone>或<phone>"),
        ("phone: 020 7946 0958", "phone: <phone>"),
        ('{"phone": "5551234567", "mobile":"0171 1234567"}', '{"phone": "<phone>", "mobile":"<phone>"}'),
        ("Telephone 089/12345-678", "Telephone <phone>"),
    ],
)
def test_what_is_private_is_replaced(text: str, expected: str) -> None:
    assert clean(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        # neither addresses
        "@property\ndef x(self): return a@b.T + (q @ k.transpose(1, 2))",
        "git clone git@github.com:owner/name.git",
        "ssh://deploy@host.com/srv, rsync user@host.com:~/x",
        "pip install package@1.2.3, image@sha256.abc, icon@2x.png, getty@tty1.service",
        "x@w.to(device), x@y.it[0], @user on x, a @ b.com, foo@localhost",
        # nor addresses of machines
        "version 10.4.200.32, v1.2.3.4, numpy==91.92.93.94, RFC 5321, section 4.1.100.50",
        "127.0.0.1 0.0.0.0 255.255.255.0 10.1.2.3 192.168.100.200 203.0.113.99 1.2.3.4 3.11.7.1",
        "Chrome/120.0.6099.109, 4.0.30319.1, 1.3.6.1.4.1.311.21.20, lib-100.200.50.60.tar.gz",
        "300.200.100.50 and 100.200.300.40 and 093.184.216.34 and x93.184.216.34",
        "x[2000:3000:4000], x[2000::3], 12:34:56, 00:1b:44:11:3a:b7, std::vector, dead::beef, a::b",
        "2001:db8::8a2e:370:7334 ::1 fe80::1 fd12:3456:789a:1::1 2024:01:02:03:04:05",
        # nor numbers of phones
        "2024-01-15 2024/01/15 2024-01-15T10:11:12+0800 20240115101112 1700000000 1700000000000",
        "ISBN 978-7-111-40701-0, ISBN 0-306-40615-2, ISSN 1234-5678, pp. 100-200, 123-45-6789",
        "0xDEADBEEF 3.14159265358979 -1.5e+10 +12.345678901 1e+1234567890 17179869184 100000000000",
        "550e8400-e29b-41d4-a716-446655440000 4111-1111-1111-1111 +1 000 000 +20 000 000 a +12345678",
        "x = y+4155552671, f(a)+14155552671, 2+49 30 901820, 1.0~+20191229111838+6991",
        "intel 80286 80386, hotel 1234567, tel[1234567], telemetry 1234567, mobile: 2024-01-15, phone 12",
        "120-300-4000 555-2671 100.200.3000 (415) 055-2671 138-12345-678 10-62781234",
    ],
)
def test_what_only_looks_like_it_is_left_alone(text: str) -> None:
    assert clean(text) == text


def test_what_is_found_is_counted() -> None:
    text = "a@b.org, c@d.org, 93.184.216.34, +49 30 901820"
    assert scrub(text, emails=True, ips=True, phones=True) == (
        "<email>, <email>, <ip>, <phone>",
        {"email": 2, "ip": 1, "phone": 1},
    )
    assert scrub("nothing", emails=True, ips=True, phones=True) == ("nothing", {})


def test_each_can_be_switched_off() -> None:
    text = "a@b.org 93.184.216.34 +49 30 901820"
    assert scrub(text, emails=True, ips=False, phones=False)[0] == "<email> 93.184.216.34 +49 30 901820"
    assert scrub(text, emails=False, ips=True, phones=False)[0] == "a@b.org <ip> +49 30 901820"
    assert scrub(text, emails=False, ips=False, phones=True)[0] == "a@b.org 93.184.216.34 <phone>"
    assert scrub(text, emails=False, ips=False, phones=False) == (text, {})


@given(
    st.text()
    | st.text("0123456789.+-() @:/abcf_x电话手机\n𠀀é", max_size=60)
    | st.lists(
        st.sampled_from(
            ["a@b.org", "93.184.216.34", "+14155552671", "tel: ", "电话", ".", "-", "é", "𠀀", " "]
        )
    ).map("".join)
)
def test_only_the_spans_that_are_counted_change(text: str) -> None:
    scrubbed, counts = scrub(text, emails=True, ips=True, phones=True)
    pieces = re.split("<(?:email|ip|phone)>", scrubbed)
    found = Counter(re.findall("<(email|ip|phone)>", scrubbed)) - Counter(
        re.findall("<(email|ip|phone)>", text)
    )
    assert found == Counter(counts)
    assert re.fullmatch(r"[\x00-\x7f]+".join(map(re.escape, pieces)), text)


@given(st.ip_addresses(v=4))
def test_nearly_every_public_address_is_found(address: IPv4Address) -> None:
    large = sum(number >= 32 for number in address.packed)
    expected = "<ip>" if address.is_global and large >= 2 else str(address)
    assert clean(f"from {address} on") == f"from {expected} on"


def test_no_number_in_the_standard_library_is_a_phone() -> None:
    library = Path(re.__file__).parents[1]
    texts = [path.read_text(encoding="utf-8") for path in sorted(library.glob("[a-m]*.py"))]
    assert sum(map(len, texts)) > 10**6
    assert not any(scrub(text, emails=False, ips=False, phones=True)[1] for text in texts)


def test_a_long_row_of_digits_takes_no_longer_than_others() -> None:
    text = "+" + "1" * 100_000 + " " + "1 (1) " * 20_000 + "a@" + "a." * 50_000 + "a" * 100_000 + "@"
    assert clean(text) == text
