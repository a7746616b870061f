"""Pages for people (SPEC section 14): a separate process that reads the books, and cannot change anything in them.

    app.py       connects the parts: routes, and the one way that every request takes
    access.py    pure: who may see which record; the only place that decides it
    signin.py    one-time links, signatures with a Nostr key (NIP-98), sessions, bearer tokens
    tries.py     how often somebody may try
    views/       a function for each page: rows -> what is on it; the same for HTML and JSON
    flow.py, charts.py   pure: pictures as SVG
    language.py  the viewer's language, numbers and time zone
    live.py      tells browsers when something has changed
    readers.py   connections to the books
    openapi.py, records.py  describe the addresses for programs

Installed with the extra `web` (Starlette, Jinja2, uvicorn, Babel). `store/page_queries.py` has its SQL, and
`store/passes.py` that of the links and sessions, which are kept in a database of their own.
"""
