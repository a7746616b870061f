"""What the words of a configuration must look like: slugs, currencies, URLs, payee addresses.

Pure: text in, normalised text out. Every function raises ValueError whose message completes the sentence
`key "x" ...` for an operator ("must be ..."). Nothing here looks anything up on a network.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from difflib import get_close_matches
from urllib.parse import SplitResult, urlsplit

import bech32

_CURRENCY_CODES = """
AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF
CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL
HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD
MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG
QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD
TWD TZS UAH UGX USD UYU UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG
"""

#: ISO 4217, without funds codes, metals and test codes: what a machine can have in its cassettes.
CURRENCIES = frozenset(_CURRENCY_CODES.split())

MAX_SLUG = 64
MAX_PATTERN = 200

_SLUG = re.compile(rf"[a-z0-9][a-z0-9-]{{0,{MAX_SLUG - 1}}}")
_LIGHTNING_ADDRESS = re.compile(r"[a-z0-9._+-]{1,64}@(?P<domain>[a-z0-9.-]{1,253})(:\d{1,5})?")
_HOST_LABEL = re.compile(r"\w([\w-]{0,61}\w)?")
_DEFAULT_PORTS = {"ws": 80, "wss": 443, "http": 80, "https": 443}


def slug(text: str) -> str:
    """An id or a label (SPEC section 3)."""
    if not _SLUG.fullmatch(text):
        raise ValueError(
            f"must be at most {MAX_SLUG} small letters, digits and hyphens, starting with a letter or digit "
            f'(like "market-1"), not {quoted(text)}'
        )
    return text


def currency(text: str) -> str:
    """An ISO 4217 code in capitals."""
    if text in CURRENCIES:
        return text
    hint = f'; write "{text.upper()}"' if text.upper() in CURRENCIES else ""
    raise ValueError(f'must be a currency code of ISO 4217 like "GTQ" or "USD", not {quoted(text)}{hint}')


def relay_url(text: str) -> str:
    """A relay's address, normalised so that the same relay is written in one way only."""
    parts = _split_url(text, ("wss", "ws"), 'an address like "wss://relay.example.org"')
    return _normalised(parts)


def http_url(text: str) -> str:
    """The base address of an LNbits, without a slash at its end."""
    parts = _split_url(text, ("https", "http"), 'an address like "https://lnbits.example.org"')
    if parts.query:
        raise ValueError('must be the plain address of the LNbits, without a "?"')
    return _normalised(parts)


def host_port(text: str) -> str:
    """Where a server listens: an address and a port."""
    host, _, port = text.strip().rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise ValueError('must be an address and a port, like "127.0.0.1:9477"')
    return f"{host}:{port}"


def pattern(text: str) -> str:
    """A regular expression that is searched in memos."""
    if not text or len(text) > MAX_PATTERN:
        raise ValueError(f"must be a regular expression of 1 to {MAX_PATTERN} characters")
    try:
        re.compile(text)
    except (re.error, RecursionError) as error:
        raise ValueError(f"is not a regular expression: {error}") from None
    return text


def listen_address(text: str) -> str:
    """Where the pages are served: an address and a port, or a Unix socket."""
    if text.startswith("unix:/") and "\0" not in text and text.isprintable():
        return text
    try:
        return host_port(text)
    except ValueError:
        raise ValueError(
            'must be an address and a port, like "127.0.0.1:8021", or a socket: "unix:/run/satmachine-web/web.sock"'
        ) from None


def origin(text: str) -> str:
    """How browsers reach a server: scheme, host and port, and nothing else."""
    wanted = 'the address that people type, like "https://books.example.org"'
    parts = _split_url(text, ("https", "http"), wanted)
    if parts.path.strip("/") or parts.query:
        raise ValueError(f"must be {wanted}, without a path")
    return _normalised(parts)


def lightning_address(text: str) -> str:
    """A Lightning address, in small letters (LUD-16)."""
    match = _LIGHTNING_ADDRESS.fullmatch(text.strip().lower())
    domain = match["domain"] if match else ""
    if match is None or not _is_host(domain) or ("." not in domain and domain != "localhost"):
        raise ValueError('must be a Lightning address like "name@example.org"')
    return match[0]


def lnurl(text: str) -> str:
    """An LNURL in its bech32 form, in small letters (LUD-01)."""
    lnurl_to_url(text)
    return text.strip().lower().removeprefix("lightning:")


def lnurl_to_url(text: str) -> str:
    """The URL that an LNURL stands for (LUD-01). Raises ValueError if it is not valid."""
    code = text.strip().lower().removeprefix("lightning:")
    prefix, words = bech32.bech32_decode(code)
    octets = bech32.convertbits(words, 5, 8, False) if prefix == "lnurl" and words else None
    if octets is None:
        raise ValueError('must be an LNURL: a long code that starts with "lnurl1"; copy it again in full')
    # What is not ASCII becomes a character that is refused in a URL.
    url = bytes(octets).decode("ascii", errors="replace")
    _split_url(url, ("https", "http"), "an LNURL that stands for an https address")
    return url


def lnurl_host(code: str) -> str:
    """Whose LNURL it is, for people: the code itself often holds a key to somebody's account."""
    return urlsplit(lnurl_to_url(code)).hostname or ""


def is_loopback(url: str) -> bool:
    """Whether a valid URL leads to this host itself, so that nobody can listen in."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean "x"?`, or nothing if no known word is similar."""
    matches = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f'; did you mean "{matches[0]}"?' if matches else ""


def quoted(text: str, limit: int = 80) -> str:
    """Text of the file as it may be shown on a terminal: in quotes, on one line, cut when long."""
    shown = text if text.isprintable() else "".join(char if char.isprintable() else "?" for char in text)
    return f'"{shown}"' if len(shown) <= limit else f'"{shown[:limit]}..."'


def _split_url(text: str, schemes: tuple[str, ...], wanted: str) -> SplitResult:
    """Take a URL apart and refuse what a person cannot have meant."""
    try:
        parts = urlsplit(text.strip())
        valid = parts.scheme in schemes and _is_host(parts.hostname or "") and parts.port != 0
    except ValueError:
        valid = False
    if not valid or any(char.isspace() or not char.isprintable() for char in text.strip()):
        raise ValueError(f"must be {wanted}")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not contain a user name or password")
    if parts.fragment:
        raise ValueError('must not contain a "#"')
    return parts


def _normalised(parts: SplitResult) -> str:
    """Scheme and host in small letters, no default port, no slash at the end."""
    host = parts.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    port = "" if parts.port in (None, _DEFAULT_PORTS[parts.scheme]) else f":{parts.port}"
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{host}{port}{parts.path.rstrip('/')}{query}"


def _is_host(host: str) -> bool:
    """A host name, with or without dots, or an IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return all(_HOST_LABEL.fullmatch(label) for label in host.removesuffix(".").split("."))
    return True


def time_zone(text: str) -> str:
    """The IANA name of a time zone, like America/Guatemala."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{text!r} is not a time zone; use a name like America/Guatemala") from None
    return text
