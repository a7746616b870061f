"""Every page in a browser: wide and narrow, light and dark, with nothing that axe finds wrong."""

from __future__ import annotations

from typing import Any

import pytest

from satmachine.web.places import PAGES
from tests.browser.conftest import Visit

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed: make test-browser")

_OPERATORS = [
    place.path.replace("{machine}", "machine-0000")
    .replace("{id}", "1")
    .replace("{day}", "2023-11-26")
    .replace("{month}", "2023-11")
    for place in PAGES
    if "statement" not in place.path
]
ADDRESSES: list[tuple[str | None, str]] = [
    *(("ana", path) for path in [*_OPERATORS, "/sales?status=held", "/search?q=machine", "/search?q=nothing"]),
    *(("ana", path) for path in ("/nothing", "/sales?since=x")),
    *(("maria", path) for path in ("/", "/clients/3")),
    *((None, path) for path in ("/sign-in", "/sign-in/link/unknown")),
]
LOOKS = [(dark, phone) for dark in (False, True) for phone in (False, True)]
#: What is looked at whenever tests are run; every page, in every look, by `make test-browser`.
_MAIN = ("/", "/machines", "/machines/machine-0000", "/sales/1", "/clients/3", "/search")


_IDS = [f"{'dark' if dark else 'light'}-{'phone' if phone else 'desktop'}" for dark, phone in LOOKS]


@pytest.mark.slow
@pytest.mark.parametrize(("dark", "phone"), LOOKS, ids=_IDS)
def test_every_page_can_be_read_by_everybody(visit: Visit, dark: bool, phone: bool) -> None:
    _look(visit, ADDRESSES, dark=dark, phone=phone)


@pytest.mark.parametrize("both", [False, True], ids=["light-desktop", "dark-phone"])
def test_the_main_pages_can_be_read_by_everybody(visit: Visit, both: bool) -> None:
    _look(visit, [address for address in ADDRESSES if address[1] in _MAIN], dark=both, phone=both)


def _look(visit: Visit, addresses: list[tuple[str | None, str]], *, dark: bool, phone: bool) -> None:
    """Open each, keep a picture where pictures are wanted, and gather what is wrong."""
    faults: list[str] = []
    visitor, signed_in = visit(dark=dark, phone=phone), None
    for person, path in sorted(addresses, key=lambda address: address[0] or ""):
        if person != signed_in:
            visitor.page.context.clear_cookies()
            visitor.sign_in(str(person))
            signed_in = person
        visitor.go(path)
        visitor.picture(f"{'phone' if phone else 'desktop'} {'dark' if dark else 'light'} {person} {path}")
        faults += [f"{path}: {fault}" for fault in _faults(visitor.page)]
    faults += [line for line in visitor.trouble if "404" not in line and "400" not in line]
    assert not faults, "\n".join(faults)


#: Short words of a table, and states, that do not stand on one line.
_BROKEN = """() => {
  const broken = [], walker = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    if (!node.parentElement.closest("table") || node.parentElement.closest("code")) continue;
    for (const word of node.data.matchAll(/\\p{L}{2,14}/gu)) {
      const range = document.createRange();
      range.setStart(node, word.index);
      range.setEnd(node, word.index + word[0].length);
      if (range.getClientRects().length > 1) broken.push(word[0]);
    }
  }
  for (const state of document.querySelectorAll(".state"))
    if (state.getBoundingClientRect().height > 40) broken.push(state.textContent);
  return broken;
}"""


def _faults(page: Any) -> list[str]:
    """What axe finds, and whether anything is wider than the window."""
    found = [
        f"{one['id']}: {one['help']}: {one['nodes'][0]['html'][:200]}"
        for one in axe.Axe().run(page).response["violations"]
    ]
    if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
        found.append("it is wider than the window")
    found += [f"{word!r} is broken over two lines" for word in page.evaluate(_BROKEN)]
    return found
