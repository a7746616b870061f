"""What people do: come in by a link or a key, go about by keyboard, read without JavaScript, see what is new."""

from __future__ import annotations

import pytest

from bench import books
from satmachine.reports.signed import Verified, verify_file
from satmachine.store.database import atomic, connect
from tests.browser import town
from tests.browser.conftest import Served, Visit


def test_a_link_signs_in_once_and_signing_out_ends_it(visit: Visit, served: Served) -> None:
    visitor = visit()
    link = served.link("ana")
    visitor.page.goto(link)
    visitor.page.get_by_role("button", name="Sign in as Ana").click()
    visitor.page.wait_for_url(f"{served.origin}/")
    visitor.page.get_by_role("button", name="Sign out").click()
    visitor.page.wait_for_url(f"{served.origin}/sign-in")
    assert visitor.go("/machines").url.endswith("/sign-in")
    visitor.page.goto(link)
    assert visitor.page.get_by_role("alert").is_visible()


def test_a_key_signs_in_by_the_browsers_extension(visit: Visit, served: Served) -> None:
    visitor = visit(key=town.ANAS_KEY)
    visitor.go("/sign-in")
    visitor.page.get_by_role("button", name="Sign in with my Nostr key").click()
    visitor.page.wait_for_url(f"{served.origin}/")
    assert visitor.page.get_by_role("heading", level=1).inner_text() == "Overview"
    assert visitor.trouble == []


def test_a_strangers_key_is_told_that_it_is_not_known(visit: Visit) -> None:
    visitor = visit(key=bytes(31) + b"\x55")
    visitor.go("/sign-in")
    visitor.page.get_by_role("button", name="Sign in with my Nostr key").click()
    told = visitor.page.get_by_role("status")
    told.wait_for()
    assert "nobody here has this key" in told.inner_text()


def test_without_an_extension_the_page_says_what_is_needed(visit: Visit) -> None:
    for scripts in (True, False):
        visitor = visit(scripts=scripts)
        visitor.go("/sign-in")
        assert not visitor.page.get_by_role("button", name="Sign in with my Nostr key").is_visible()
        assert "NIP-07" in visitor.page.locator("main").inner_text()


def test_the_keyboard_reaches_everything_in_order_and_shows_where_it_is(visit: Visit) -> None:
    visitor = visit()
    visitor.sign_in("ana")
    reached, page = [], visitor.page
    for _ in range(40):
        page.keyboard.press("Tab")
        at = page.evaluate(_WHERE)
        if at["text"] == "":
            break
        assert at["visible"], f"nothing shows that {at['text']} has the focus"
        reached.append(at["text"])
    assert reached[:3] == ["To the content", "satmachine", "Overview"]
    assert reached.index("Machines") < reached.index("Search") < reached.index("Sign out")
    assert len(reached) > 20


#: What has the focus, and whether it can be seen that it has: an outline, within the window.
_WHERE = """() => {
  const at = document.activeElement, box = at.getBoundingClientRect(), style = getComputedStyle(at);
  const text = (at.placeholder || at.getAttribute("aria-label") || at.textContent || "").trim().slice(0, 60);
  const seen = box.right > 0 && box.bottom > 0 && box.top < innerHeight && style.outlineStyle !== "none";
  return {text: at === document.body ? "" : text, visible: seen};
}"""


def test_the_skip_link_leads_past_the_head_of_the_page(visit: Visit) -> None:
    visitor = visit()
    visitor.sign_in("ana")
    visitor.page.keyboard.press("Tab")
    visitor.page.keyboard.press("Enter")
    assert visitor.page.evaluate("document.activeElement.id") == "main"
    visitor.page.keyboard.press("Tab")
    assert visitor.page.evaluate("document.getElementById('main').contains(document.activeElement)")


def test_everything_is_there_without_javascript(visit: Visit, served: Served) -> None:
    visitor = visit(scripts=False)
    visitor.sign_in("ana")
    page = visitor.page
    page.get_by_role("link", name="Sales", exact=True).click()
    page.get_by_label("State").select_option("held")
    page.get_by_role("button", name="Show").click()
    assert "status=held" in page.url
    page.locator("table a").first.click()
    assert page.get_by_role("img", name="Where every sat went").is_visible()
    page.get_by_role("searchbox").fill("panajachel")
    page.get_by_role("searchbox").press("Enter")
    page.get_by_role("link", name="Panajachel market").click()
    assert page.get_by_role("heading", level=1).inner_text() == "Panajachel market"
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(f"{served.origin}/sign-in")


def test_a_new_sale_appears_without_a_reload(visit: Visit, served: Served) -> None:
    visitor = visit()
    visitor.sign_in("ana")
    visitor.go("/machines/machine-0001")
    page = visitor.page
    conn = connect(served.settings.books)
    with atomic(conn):
        conn.execute("UPDATE dca_wallets SET balance_sats = 7654321 WHERE machine_id = ?", (books.machine_id(1),))
    conn.close()
    page.get_by_text("7,654,321 sats").wait_for(timeout=30_000)
    assert visitor.trouble == []


def test_an_lp_downloads_a_statement_that_can_be_proven(visit: Visit) -> None:
    visitor = visit()
    visitor.sign_in("maria")
    visitor.page.get_by_role("link", name="lp1").click()
    for name in ("para leer", "para programas"):
        with visitor.page.expect_download() as begun:
            visitor.page.get_by_text(name, exact=True).click()
        found = verify_file(begun.value.path().read_bytes())
        assert isinstance(found, Verified), found
        assert found.document["person"] == "person-2"


@pytest.mark.parametrize("path", ["/sales/1", "/machines", "/clients/1", "/search?q=x"])
def test_an_lp_is_told_of_nothing_that_is_not_hers(visit: Visit, path: str) -> None:
    visitor = visit()
    visitor.sign_in("maria")
    assert visitor.go(path).status == 404
