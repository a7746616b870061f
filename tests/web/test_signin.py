"""How people come in, and how nobody else does."""

from __future__ import annotations

import base64
import json

import pytest

from satmachine.nostr.event import Event, sign
from satmachine.store import passes
from satmachine.web.signin import HTTP_AUTH_KIND, IDLE_S
from tests.web.conftest import ANAS_KEY, ORIGIN, Site

URL = f"{ORIGIN}/sign-in/key"


def test_a_link_signs_in_once(site: Site) -> None:
    link = site.link("ana")
    assert site.client.post(link).headers["location"] == "/"
    assert site.status("/") == 200
    site.client.cookies.clear()
    assert site.client.post(link).status_code == 404
    assert site.status("/") == 303


def test_looking_at_a_link_uses_nothing_up(site: Site) -> None:
    link = site.link("ana")
    for _ in range(3):
        page = site.client.get(link)
        assert (page.status_code, "Sign in as Ana" in page.text) == (200, True)
    assert site.client.post(link).status_code == 303


def test_a_link_ends_with_its_time_when_it_is_taken_back_and_with_its_person(site: Site) -> None:
    late = site.link("ana", lives_s=60)
    site.clock.now += 61
    assert site.client.post(late).status_code == 404
    revoked = site.link("ana")
    with passes.open_passes(site.settings.passes) as conn:
        assert passes.revoke(conn, int(site.clock()), person="ana") == 1
    assert site.client.post(revoked).status_code == 404
    assert site.client.post(site.link("nobody")).status_code == 404


def test_a_session_ends_when_it_is_not_used_taken_back_or_left(site: Site) -> None:
    site.sign_in("ana")
    site.clock.now += IDLE_S - 60
    assert site.status("/") == 200
    site.clock.now += IDLE_S + 61
    assert site.status("/") == 303
    site.sign_in("ana")
    with passes.open_passes(site.settings.passes) as conn:
        passes.revoke(conn, int(site.clock()), person="ana")
    assert site.status("/") == 303
    site.sign_in("ana")
    cookie = site.client.cookies["__Host-satmachine"]
    assert site.client.post("/sign-out").status_code == 303
    site.client.cookies.set("__Host-satmachine", cookie)
    assert site.status("/") == 303


def test_the_cookie_is_for_this_host_and_no_script(site: Site) -> None:
    cookie = site.client.post(site.link("ana")).headers["set-cookie"].lower()
    assert cookie.startswith("__host-satmachine=")
    for part in ("httponly", "secure", "samesite=lax", "path=/", "max-age="):
        assert part in cookie
    assert "domain" not in cookie


def test_no_secret_is_kept(site: Site) -> None:
    link = site.link("ana")
    site.client.post(link)
    kept = b"".join(path.read_bytes() for path in site.settings.passes.parent.glob("web.db*"))
    assert link.rpartition("/")[2].encode() not in kept
    assert site.client.cookies["__Host-satmachine"].encode() not in kept


def signed(
    now: float, *, key: bytes = ANAS_KEY, kind: int = HTTP_AUTH_KIND, url: str = URL, method: str = "POST"
) -> Event:
    return sign(kind, "", [["u", url], ["method", method]], int(now), key)


def header(event: Event, **changes: object) -> dict[str, str]:
    encoded = base64.b64encode(json.dumps({**event.to_dict(), **changes}).encode()).decode()
    return {"authorization": f"Nostr {encoded}"}


def test_a_signature_signs_in_once(site: Site) -> None:
    event = signed(site.clock())
    answer = site.client.post("/sign-in/key", headers=header(event))
    assert (answer.status_code, answer.json()) == (200, {"signed_in": "Ana"})
    assert site.status("/") == 200
    site.client.cookies.clear()
    again = site.client.post("/sign-in/key", headers=header(event))
    assert (again.status_code, "used before" in again.json()["error"]) == (401, True)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"key": bytes(31) + b"\x09"}, "nobody here has this key"),
        ({"kind": 1}, "kind 1"),
        ({"url": "https://evil.example.org/sign-in/key"}, "another address"),
        ({"url": f"{ORIGIN}/"}, "another address"),
        ({"method": "GET"}, "another address"),
    ],
)
def test_a_signature_over_something_else_does_not_count(site: Site, change: dict[str, object], why: str) -> None:
    answer = site.client.post("/sign-in/key", headers=header(signed(site.clock(), **change)))  # type: ignore[arg-type]
    assert (answer.status_code, why in answer.json()["error"]) == (401, True)
    assert site.status("/") == 303


def test_a_signature_of_another_time_or_a_false_one_does_not_count(site: Site) -> None:
    for event, changes in (
        (signed(site.clock() - 61), {}),
        (signed(site.clock() + 61), {}),
        (signed(site.clock()), {"sig": "00" * 64}),
        (signed(site.clock()), {"created_at": int(site.clock()) - 1}),
    ):
        assert site.client.post("/sign-in/key", headers=header(event, **changes)).status_code == 401
    for text in ("", "Nostr", "Nostr !!!", "Nostr e30=", "Basic YTpi", "Nostr " + "A" * 20_000):
        assert site.client.post("/sign-in/key", headers={"authorization": text}).status_code in (401, 429)


def test_a_form_of_another_site_signs_nobody_in_or_out(site: Site) -> None:
    strangers = {"sec-fetch-site": "cross-site", "origin": "https://evil.example.org"}
    link = site.link("ana")
    assert site.client.post(link, headers=strangers).status_code == 400
    assert site.client.post(link, headers={"origin": "https://evil.example.org"}).status_code == 400
    assert site.client.post(link).status_code == 303
    site.client.post("/sign-out", headers=strangers)
    assert site.status("/") == 200


def test_trying_links_is_slow(site: Site) -> None:
    answers = [site.client.get(f"/sign-in/link/{n}").status_code for n in range(15)]
    assert answers[:10] == [404] * 10
    assert answers[10:] == [429] * 5


def test_a_token_reads_and_ends(site: Site) -> None:
    token = {"authorization": f"Bearer {site.token('ana', lives_s=100)}"}
    assert site.client.get("/api/v1/dca/machines", headers=token).status_code == 200
    assert site.client.get("/api/v1/dca/machines", headers={"authorization": "Bearer x"}).status_code == 401
    site.clock.now += 101
    assert site.client.get("/api/v1/dca/machines", headers=token).status_code == 401


def test_a_link_is_no_session_and_a_session_no_token(site: Site) -> None:
    secret = site.link("ana").rpartition("/")[2]
    assert site.client.get("/api/v1/dca/machines", headers={"authorization": f"Bearer {secret}"}).status_code == 401
    site.client.cookies.set("__Host-satmachine", secret)
    assert site.status("/") == 303
