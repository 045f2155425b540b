"""What the console refuses: other names, other sites, missing tokens, strange words. A refusal has no effect."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from consoles import TOKEN, Console, console, effects
from fastapi.routing import APIRoute

from cloudmesh_actors.web.app import application
from cloudmesh_actors.web.live import Hub


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Console]:
    with console(tmp_path, monkeypatch) as it:
        yield it


@pytest.fixture
def guarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Console]:
    """A console that wants a token."""
    file = tmp_path / "token"
    file.write_text(TOKEN)
    file.chmod(0o600)
    with console(tmp_path, monkeypatch, WEB_TOKEN_FILE=file) as it:
        yield it


def routes(method: str) -> list[str]:
    """Every address of the application for a method, with something in its places."""

    def found(router: object) -> Iterator[APIRoute]:
        for route in getattr(router, "routes", ()):
            if isinstance(route, APIRoute):
                yield route
            else:
                yield from found(getattr(route, "original_router", None) or getattr(route, "router", None))

    app = application(Hub(lambda: False))
    known = {(route.path, name) for route in found(app) for name in route.methods}
    return sorted(re.sub(r"\{\w+\}", "x1", path) for path, name in known if name == method)


CHANGING = routes("POST")
SHOWN = [path for path in routes("GET") if not path.endswith("/live")]


def test_the_application_has_routes_to_try() -> None:
    assert {"/cm/launch", "/cm/launch/db_reset", "/api/v1/launches", "/cm/jobs/x1/abort"} <= set(CHANGING)
    assert {"/cm/launch", "/cm/launch/db_stats", "/cm/jobs", "/healthz", "/api/v1/jobs"} <= set(SHOWN)


# -- names


def test_a_foreign_name_is_refused(web: Console) -> None:
    for host in ("evil.example.org", "evil.org:5000", "127.0.0.1.evil.org", "127.0.0.2", "", "[::2]", "localhost@evil"):
        for path in ("/cm/launch", "/api/v1/jobs", "/healthz"):
            assert web.get(path, headers={"Host": host}).status_code == 421, host
        assert web.client.post("/api/v1/launches", json={}, headers={"Host": host}).status_code == 421


def test_this_machines_own_names_are_known(web: Console) -> None:
    for host in ("localhost:5000", "LOCALHOST", "127.0.0.1", "[::1]:5000"):
        assert web.get("/healthz", headers={"Host": host}).status_code == 200, host


def test_a_name_can_be_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with console(tmp_path, monkeypatch, WEB_ALLOWED_HOSTS="cm.example.org, other") as it:
        assert it.get("/healthz", headers={"Host": "CM.example.org:5000"}).status_code == 200
        assert it.get("/healthz", headers={"Host": "example.org"}).status_code == 421


# -- other sites


FOREIGN = [
    {"Origin": "http://evil.example.org"},
    {"Origin": "http://127.0.0.1:8000"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate"},
]


def test_another_site_changes_nothing(web: Console) -> None:
    fields = {"form_token": web.form_token(), "recipe": "quick", "servers": "i001"}

    for headers in (*FOREIGN, {"Origin": web.home, "Sec-Fetch-Site": "cross-site"}):
        for path in CHANGING:
            assert web.client.post(path, data=fields, headers=headers).status_code == 403, (path, headers)
        assert web.client.post("/api/v1/launches", json=fields, headers=headers).status_code == 403
    assert effects() == (0, 0, 0)


def test_another_site_reads_nothing_but_may_link_to_pages(web: Console) -> None:
    linked = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    fetched = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}

    assert web.get("/cm/jobs", headers=linked).status_code == 200
    assert web.get("/cm/jobs", headers=fetched).status_code == 403
    assert web.get("/cm/jobs/live", headers=fetched).status_code == 403


def test_a_form_without_its_token_is_refused(web: Console) -> None:
    for path in (path for path in CHANGING if not path.startswith("/api/")):
        for token in ({}, {"form_token": ""}, {"form_token": "0" * 64}):
            fields = {"recipe": "quick", "servers": "i001", **token}
            answer = web.client.post(path, data=fields, headers={"Origin": web.home})
            assert answer.status_code == 403, path
            assert "Nothing was done" in answer.text
    assert effects() == (0, 0, 0)


def test_the_token_of_another_browser_is_refused(web: Console) -> None:
    token = web.form_token()
    web.client.cookies.clear()

    answer = web.client.post("/cm/launch", data={"form_token": token, "recipe": "quick", "servers": "i001"})

    assert answer.status_code == 403


def test_the_api_takes_only_json(web: Console) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        body = b'{"recipe": "quick", "servers": "i001"}'
        answer = web.client.post("/api/v1/launches", content=body, headers={"Content-Type": kind})
        assert answer.status_code == 422
    assert effects() == (0, 0, 0)


def test_get_changes_nothing_where_post_does(web: Console) -> None:
    for path in CHANGING:
        assert web.get(path).status_code in ({200} if path in SHOWN else {404, 405}), path
    assert effects() == (0, 0, 0)


def test_a_long_body_is_refused(web: Console) -> None:
    assert web.client.post("/api/v1/launches", content=b" " * 1_000_001).status_code == 413

    chunks = iter([b" " * 100_000] * 20)
    assert web.client.post("/api/v1/launches", content=chunks).status_code == 411


# -- the token


def test_without_the_token_nothing_is_shown(guarded: Console) -> None:
    for path in SHOWN:
        answer = guarded.get(path)
        if path in {"/login", "/healthz", "/readyz"}:
            assert answer.status_code == 200
        elif path.startswith("/api/"):
            assert answer.status_code == 401
            assert answer.headers["WWW-Authenticate"] == "Bearer"
        else:
            assert answer.headers["Location"].startswith("/login?next=%2F"), path
    assert guarded.get("/cm/jobs/live").status_code == 401
    for path in set(CHANGING) - {"/login"}:
        assert guarded.client.post(path, json={}).status_code == 401
    assert effects() == (0, 0, 0)


def test_a_program_shows_the_token_in_a_header(guarded: Console) -> None:
    for wrong in ("Bearer wrong", TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN}x"):
        assert guarded.get("/api/v1/jobs", headers={"Authorization": wrong}).status_code == 401
    assert guarded.get("/api/v1/jobs", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


def login(it: Console, token: str, wanted: str = "/cm/jobs?state=done") -> httpx.Response:
    page = it.get("/login", params={"next": wanted}).text
    match = re.search(r'name="form_token" value="(\w+)"', page)
    assert match
    fields = {"form_token": match[1], "token": token, "next": wanted}
    return it.client.post("/login", data=fields, headers={"Origin": it.home}, follow_redirects=False)


def test_a_browser_logs_in_and_out(guarded: Console) -> None:
    assert "is not the token" in login(guarded, "wrong").text
    entered = login(guarded, TOKEN)

    assert entered.headers["Location"] == "/cm/jobs?state=done"
    assert re.search(r"HttpOnly; SameSite=Lax", entered.headers["Set-Cookie"])
    assert TOKEN not in entered.headers["Set-Cookie"]
    assert guarded.get("/cm/jobs").status_code == 200
    guarded.post("/logout")
    assert guarded.get("/cm/jobs").status_code == 303


def test_the_login_leads_nowhere_else(guarded: Console) -> None:
    for wanted in ("//evil.example.org/", "https://evil.example.org", "/\\evil.example.org", "x", "/a\nb"):
        assert login(guarded, TOKEN, wanted).headers["Location"] == "/cm/launch"


# -- read-only


def test_a_read_only_console_shows_and_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with console(tmp_path, monkeypatch, WEB_READ_ONLY="true") as it:
        page = it.get("/cm/launch")
        assert page.status_code == 200
        assert 'id="press"' not in page.text
        token = it.form_token()
        for path in set(CHANGING) - {"/login", "/logout", "/api/v1/launches/check"}:
            assert it.client.post(path, data={"form_token": token}).status_code == 403, path
        assert effects() == (0, 0, 0)


# -- headers and escaping


def test_every_answer_has_its_protecting_headers(web: Console) -> None:
    for path in ("/cm/launch", "/cm/nowhere", "/api/v1/jobs", "/healthz", "/api/v1/docs"):
        headers = web.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert "server" not in headers


def test_pages_have_no_inline_script_or_style_and_take_nothing_from_elsewhere(web: Console) -> None:
    for path in (path for path in SHOWN if path.startswith(("/cm", "/api/v1/docs", "/login"))):
        answer = web.get(path)
        nonce = re.search(r"'nonce-([\w-]+)'", answer.headers["Content-Security-Policy"])
        assert nonce
        assert re.findall(r"<style|\sstyle=|\son\w+=|javascript:", answer.text) == [], path
        assert re.findall(r"<script(?! src=\"/static/)", answer.text) == [], path
        assert re.findall(r"(?:src|href|action)=\"(?!/|#|\?)", answer.text) == [], path
        for element in re.findall(r"<(?:script|link rel=\"stylesheet\")[^>]*>", answer.text):
            assert f'nonce="{nonce[1]}"' in element


def test_each_page_has_a_nonce_of_its_own(web: Console) -> None:
    nonces = {web.get("/cm/jobs").headers["Content-Security-Policy"] for _ in range(5)}

    assert len(nonces) == 5


def test_what_recipes_say_is_escaped(web: Console) -> None:
    page = web.get("/cm/launch").text

    assert "Quick &amp; &lt;b&gt;done" in page
    assert "<script>alert(1)" not in page


# -- strange words

PIECES = [
    "; rm -rf /", "$(id)", "`id`", "| cat", "' OR 1=1 --", '"; DROP TABLE steps; --', "<script>alert(1)</script>",
    "{{7*7}}", "{server}", "../../etc/passwd", "%00", "\x00", "\r\nSet-Cookie: a=b", "i[1-999999999]", "@@", "--help",
    "\u202e", "\ud7ff", "\U0001f4a3", "i001;i002", "x*" * 20, "[" * 50, "i001!i001", "__import__('os')", "%s%n", "-e",
    "\t",
]  # fmt: skip


def strange_words(count: int) -> list[str]:
    """The pieces, and the same in all combinations, always the same ones."""
    chance = random.Random(20130717)
    words = list(PIECES)
    while len(words) < count:
        words.append("".join(chance.choices([*PIECES, "i001", "quick", " ", ","], k=chance.randint(2, 4))))
    return [word for word in words if word not in {"i001", "quick"}]


def test_strange_words_as_recipe_server_or_parameter_have_no_effect(web: Console) -> None:
    token = web.form_token()
    for number, word in enumerate(strange_words(500)):
        # the API's answer takes a tenth of a page's time; both check in the same place
        recipe, servers, count = "quick", "i001", "3"
        match number % 3:
            case 0:
                recipe = word
            case 1:
                servers = word
            case 2:
                count = word
        wish = {"recipe": recipe, "servers": servers, "parameters": {"count": count}}
        assert web.client.post("/api/v1/launches", json=wish).status_code == 422, word
        if number % 10 < 3:
            fields = {"form_token": token, "recipe": recipe, "servers": servers, f"{recipe}.count": count}
            page = web.client.post("/cm/launch", data=fields)
            assert page.status_code == 422, word
            assert "<script>alert" not in page.text
    assert effects() == (0, 0, 0)


def test_strange_words_in_addresses_are_not_found_or_refused(web: Console) -> None:
    for word in PIECES:
        for path in ("/cm/jobs/{}", "/cm/launch/jobs/{}", "/api/v1/jobs/{}", "/cm/launch/recipes/{}/image"):
            assert web.get(path.format(quote(word, safe=""))).status_code in {303, 307, 404}, word
        for path in ("/cm/jobs", "/cm/launch/db_stats", "/api/v1/jobs", "/api/v1/launches"):
            asked = {"state": word, "actor": word, "recipe": word, "cursor": word, "before": word}
            answer = web.get(path, params=asked)
            assert answer.status_code in {404, 422}
            assert "<script>alert" not in answer.text
