"""The console as people use it: real Chromium, real workers, simulated servers."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from brokers import free_port
from consoles import write_site
from fleets import FleetUnderTest, fleet
from playwright.sync_api import Browser, Page, expect, sync_playwright
from playwright.sync_api import TimeoutError as PlaywrightTimeout
from servers import require

CHROMIUM = ("--no-sandbox", "--headless", "--disable-gpu", "--disable-background-networking")
DEADLINE_MS = 30_000

expect.set_options(timeout=DEADLINE_MS)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetUnderTest]:
    """A fleet of one worker and the console."""
    folder = tmp_path_factory.mktemp("web")
    settings = {"WORKERS": "launcher=1", "SITE": write_site(folder), "WEB_PORT": free_port(), "GRACE": 1}
    with fleet(folder / "logs", **settings) as it:
        it.run("web-up")
        yield it


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=require("chromium"), args=CHROMIUM)
        yield started
        started.close()


@pytest.fixture
def page(running: FleetUnderTest, browser: Browser) -> Iterator[Page]:
    """A page of the console that must not complain."""
    complaints: list[str] = []
    context = browser.new_context(base_url=f"http://127.0.0.1:{running.settings['WEB_PORT']}", color_scheme="dark")
    context.set_default_timeout(DEADLINE_MS)
    opened = context.new_page()
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    yield opened
    context.close()
    # that a form was refused is a failed load, too
    assert [each for each in complaints if "422" not in each] == []


def launch(page: Page, recipe: str, servers: str) -> None:
    """Fill in the form and press the button."""
    page.goto("/cm/launch")
    page.get_by_label("Servers").fill(servers)
    page.get_by_text(recipe, exact=True).first.click()
    page.get_by_role("button", name="Launch", exact=True).click()
    await_launch(page)


def await_launch(page: Page, other_than: str = "") -> None:
    """Wait for the page of a launch; says what is on the page that is there instead."""
    try:
        page.wait_for_url(lambda url: url != other_than and "/cm/launch/jobs/" in url)
    except PlaywrightTimeout as error:
        raise AssertionError(f"the page is still {page.url}: {page.locator('main').inner_text()}") from error


def row(page: Page, server: str) -> str:
    return page.locator("tr", has=page.get_by_role("link", name=server, exact=True)).inner_text()


def test_a_recipe_is_launched_from_the_page_and_watched_until_it_is_active(page: Page) -> None:
    page.goto("/")
    expect(page).to_have_url(re.compile("/cm/launch$"))

    page.get_by_label("Servers").fill("i[001-002]")
    page.locator(".recipe", has_text="Quick").locator("label.card").click()
    page.get_by_label("word").fill("hello")
    expect(page.locator("[data-said=press]")).to_have_text("quick on 2 servers")
    page.get_by_role("button", name="Launch", exact=True).click()

    await_launch(page)
    expect(page.locator("#launch-head")).to_contain_text("2 active")
    expect(page.locator("#launch-output pre")).to_contain_text("count=3 mood=calm loud=true <i>hello</i> on i001")
    page.get_by_role("link", name="i002").click()
    expect(page.locator("#launch-output pre")).to_contain_text("on i002")


def test_what_is_wrong_is_said_while_it_is_typed_and_what_was_typed_is_kept(page: Page) -> None:
    page.goto("/cm/launch?recipe=quick")
    page.get_by_label("Servers").fill("i001,nope")
    expect(page.locator("[data-wrong=servers]")).to_contain_text("nope is not in the site")
    count = page.get_by_label("count")
    count.fill("12")
    expect(page.locator("[data-wrong='quick.count']")).to_contain_text("more than 9")
    expect(count).to_have_attribute("aria-invalid", "true")

    page.get_by_role("button", name="Launch", exact=True).click()  # the server says the same

    expect(page.get_by_label("Servers")).to_have_value("i001,nope")
    expect(page.get_by_label("count")).to_have_value("12")
    expect(page.locator("[data-wrong='quick.count']")).to_contain_text("more than 9")


def test_nothing_moves_under_the_pointer_when_the_answer_to_what_is_typed_comes(page: Page) -> None:
    page.goto("/cm/launch?recipe=quick")
    button = page.get_by_role("button", name="Launch", exact=True)
    expect(button).to_be_visible()
    place = button.bounding_box()

    page.get_by_label("Servers").fill("i001")
    expect(page.locator("[data-said=servers]")).to_have_text("1 server: i001")
    assert button.bounding_box() == place
    page.get_by_label("Servers").fill("nope")
    page.get_by_label("count").fill("12")
    expect(page.locator("[data-wrong=servers]")).to_contain_text("nope is not in the site")
    expect(page.locator("[data-wrong='quick.count']")).to_contain_text("more than 9")
    assert button.bounding_box() == place


def test_servers_can_be_ticked_with_the_keyboard_alone(page: Page) -> None:
    page.goto("/cm/launch?recipe=quick")
    page.get_by_text("Tick them").focus()
    page.keyboard.press("Enter")
    page.get_by_label("i003").focus()
    page.keyboard.press("Space")
    expect(page.locator("[data-said=press]")).to_have_text("quick on 1 server")
    page.get_by_label("Servers").focus()
    page.keyboard.press("Enter")

    await_launch(page)
    expect(page.locator("#launch-head")).to_contain_text("1 active")
    assert "i003" in row(page, "i003")


def test_a_failing_script_shows_its_output_and_is_relaunched_where_it_failed(page: Page) -> None:
    launch(page, "Broken", "i[003-004]")

    expect(page.locator("#launch-head")).to_contain_text("2 error")
    expect(page.locator("#launch-output pre")).to_contain_text("about to fail on i003")
    expect(page.locator("#launch-output .error-box")).to_be_visible()
    first = page.url
    page.get_by_role("button", name="Relaunch what failed").click()
    await_launch(page, other_than=first)
    expect(page.locator("#launch-head")).to_contain_text("2 error")
    page.goto("/cm/audit")
    expect(page.locator("tbody tr").first).to_contain_text("relaunch failed")


def test_a_launch_is_aborted_and_launched_again(page: Page) -> None:
    launch(page, "Slow", "i001")
    expect(page.locator("#launch-output pre")).to_contain_text("begun on i001")
    expect(page.get_by_role("button", name="Relaunch all")).to_be_hidden()

    page.get_by_role("button", name="Abort").click()

    expect(page.locator("#launch-head")).to_contain_text("1 aborted")
    expect(page.get_by_role("button", name="Abort")).to_be_hidden()
    first = page.url
    page.get_by_role("button", name="Relaunch all").click()
    await_launch(page, other_than=first)
    expect(page.locator("#launch-output pre")).to_contain_text("begun on i001")
    page.get_by_role("button", name="Abort").click()
    expect(page.locator("#launch-head")).to_contain_text("1 aborted")


def test_the_page_of_all_launches_is_live_and_reset_asks_first(page: Page, running: FleetUnderTest) -> None:
    launch(page, "Broken", "i004")
    expect(page.locator("#launch-head")).to_contain_text("1 error")
    page.goto("/cm/launch/db_stats")
    rows = page.locator("[data-list=launch-rows] tr")
    before = rows.count()
    assert before

    other = page.context.new_page()
    launch(other, "Broken", "i[001-002]")
    other.close()
    expect(rows).to_have_count(before + 2)
    expect(page.locator("#by-recipe")).to_contain_text("broken")

    page.get_by_role("link", name="Reset…").click()
    expect(page.get_by_role("heading", name="Forget finished launches?")).to_be_visible()
    page.get_by_role("link", name="Keep them").click()
    expect(rows.first).to_be_visible()
    page.goto("/cm/launch/db_stats/cm/db_reset")
    page.get_by_role("button", name=re.compile("Forget")).click()
    expect(page.locator(".notice")).to_contain_text("forgotten")
    expect(rows).to_have_count(0)
    expect(page.get_by_text("Nothing was launched yet")).to_be_visible()


def test_a_job_shows_its_log_as_it_grows(page: Page) -> None:
    launch(page, "Slow", "i002")
    expect(page.locator("#launch-output pre")).to_contain_text("begun on i002")
    page.get_by_role("link", name="Job and log").click()
    expect(page.locator(".log")).to_contain_text("begun on i002")

    page.get_by_role("button", name="Abort").click()

    expect(page.locator("#job-head")).to_contain_text("aborted")
    expect(page.locator(".log")).to_contain_text("aborted")


@pytest.mark.parametrize("width", [380, 1280, 2560])
def test_pages_are_not_wider_than_the_window(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    for path in ("/cm/launch?recipe=quick", "/cm/launch/db_stats", "/cm/jobs", "/cm/audit", "/api/v1/docs"):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), path


def test_without_scripts_the_pages_do_the_same(browser: Browser, running: FleetUnderTest) -> None:
    base = f"http://127.0.0.1:{running.settings['WEB_PORT']}"
    context = browser.new_context(base_url=base, java_script_enabled=False)
    context.set_default_timeout(DEADLINE_MS)
    page = context.new_page()
    launch(page, "Broken", "i001")

    def state() -> str:
        page.reload()
        return page.locator("#launch-head").inner_text()

    end = time.monotonic() + DEADLINE_MS / 1000
    while "1 error" not in state():
        assert time.monotonic() < end
        time.sleep(0.1)
    assert "about to fail on i001" in page.locator("#launch-output").inner_text()
    context.close()


def test_the_console_stops_at_once_although_streams_are_open(tmp_path: Path) -> None:
    port = free_port()
    with fleet(tmp_path / "logs", WORKERS="launcher=1", WEB_PORT=port) as it:
        told = it.run("up", "--web").stdout
        assert f"the console is at http://127.0.0.1:{port}/cm/launch" in told
        worker, web = it.pid("l1"), it.pid("web")
        assert it.status()["web"].state == "ready"
        with socket.create_connection(("127.0.0.1", port), 10) as stream:
            stream.sendall(f"GET /cm/jobs/live HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
            stream.settimeout(30)
            assert b"text/event-stream" in stream.recv(4096)

            down = it.run("web-down")

            assert down.stdout == "the console is down\n"
            while stream.recv(65536):
                pass
        assert not Path(f"/proc/{web}").exists()
        assert not (it.log_dir / "web.pid").exists()
        assert '"event":"worker.ended"' in (it.log_dir / "web.log").read_text()
        assert "web" not in it.status()
        assert it.run("up").stdout.endswith("were ready already\n")
        assert it.pid("l1") == worker
        assert it.run("web-down").stdout == "the console was down already\n"
        assert it.status()["l1"].state == "ready"
        os.kill(worker, 0)
