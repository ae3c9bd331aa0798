#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The chat page in headless Chromium: send, stream, stop, regenerate, edit, reload, errors, phone.

usage: page_test.py FAKE_SERVER [FOLDER for screenshots]
"""
import pathlib
import sys

from browser import Browser, find_chromium
from server_process import Server

LAST = "[...document.querySelectorAll('.message.assistant .body')].at(-1)"
IDLE = "!document.getElementById('send').classList.contains('stop')"


class Page:
    def __init__(self, server, shots):
        self.browser = Browser()
        self.server = server
        self.shots = shots
        self.browser.open(server.url)

    def shot(self, name):
        if self.shots:
            self.browser.screenshot(self.shots / f"{name}.png")

    def send(self, text, wait=True):
        self.browser.wait("document.getElementById('banner').hidden")
        self.browser.run("document.getElementById('input').focus()")
        self.browser.type(text)
        self.browser.key("Enter", virtual=13)
        if wait:
            self.browser.wait(f"{IDLE} && {LAST}")

    def click(self, selector):
        self.browser.run(f"document.querySelector({selector!r}).click()")

    def count(self, selector):
        return self.browser.run(f"document.querySelectorAll({selector!r}).length")


def test_sends_and_renders(page):
    page.browser.wait("document.querySelector('.dot.ready')")
    page.shot("01-welcome")
    page.send("Show me **everything**")
    run = page.browser.run
    assert run(f"{LAST}.querySelector('strong').textContent") == "short"
    assert run(f"{LAST}.querySelectorAll('ol > li').length") == 2
    assert run(f"{LAST}.querySelectorAll('ol ul li').length") == 1
    assert run(f"{LAST}.querySelectorAll('table td').length") == 4
    assert run(f"{LAST}.querySelector('a').href") == "https://example.org/"
    assert run(f"{LAST}.querySelector('.code .k').textContent") == "def"
    # What looks like markup in an answer stays text.
    assert run(f"{LAST}.querySelectorAll('script, .code b').length") == 0
    assert "<script>alert(1)</script>" in run(f"{LAST}.textContent")
    assert run("document.querySelector('.message.user .body').textContent") == "Show me **everything**"
    page.shot("02-answer")


def test_streams_and_stops(page):
    page.send("SCRIPT:" + "word " * 600, wait=False)
    page.browser.wait(f"{LAST}.textContent.length > 20 && !({IDLE})")
    first = page.browser.run(f"{LAST}.textContent.length")
    page.browser.wait(f"{LAST}.textContent.length > {first}")
    page.shot("03-streaming")
    page.browser.key("Escape", virtual=27)
    page.browser.wait(IDLE)
    assert "stopped" in page.browser.run("[...document.querySelectorAll('.meta')].at(-1).textContent")
    page.browser.wait("app.status.stats.num_running === 0")


def test_regenerates_and_edits(page):
    page.click("[data-action=new-chat]")
    page.send("SCRIPT:first")
    assert page.browser.run(f"{LAST}.textContent") == "first"
    page.click("[data-action=regenerate]")
    page.browser.wait(f"{IDLE} && document.querySelector('.variants')")
    assert "2 / 2" in page.browser.run("document.querySelector('.variants').textContent")
    page.click("[data-action=variant]")
    assert "1 / 2" in page.browser.run("document.querySelector('.variants').textContent")
    page.click("[data-action=edit-message]")
    page.browser.run("document.querySelector('.edit textarea').value = 'SCRIPT:second'")
    page.click("[data-action=save-edit]")
    page.browser.wait(f"{IDLE} && {LAST} && {LAST}.textContent === 'second'")
    assert page.count(".message") == 2


def test_survives_a_reload(page):
    page.browser.call("Page.reload")
    page.browser.wait(f"document.readyState === 'complete' && {LAST}")
    assert page.browser.run(f"{LAST}.textContent") == "second"
    assert page.count(".conversation") == 2
    page.browser.run("document.querySelectorAll('.conversation > button')[2].click()")
    page.browser.wait(f"{LAST}.textContent.includes('word')")
    page.click(".conversation.current [data-action=delete]")
    assert page.count(".conversation") == 1
    page.click("#toast button")
    assert page.count(".conversation") == 2


def test_settings_reach_the_server(page):
    page.click("header [data-action=toggle-panel]")
    page.browser.run("""(() => { const s = document.getElementById('set-temperature');
        s.value = 0; s.dispatchEvent(new Event('input')); })()""")
    page.browser.run("""(() => { const s = document.getElementById('set-max-tokens');
        s.value = 3; s.dispatchEvent(new Event('input')); })()""")
    page.shot("04-settings")
    page.click("[data-action=new-chat]")
    page.send("SCRIPT:abcdef")
    assert page.browser.run(f"{LAST}.textContent") == "abc"
    assert "length limit" in page.browser.run("document.querySelector('.meta').textContent")
    page.click("[data-action=reset-settings]")
    page.click("#tab-live")
    page.browser.wait("document.querySelector('.layers td')")
    assert page.browser.run("document.querySelector('.layers td').textContent").startswith("mlp.up_proj")
    page.send("And **all** of it again, please")
    page.shot("05-live")


def test_shows_errors(page):
    page.click("[data-action=new-chat]")
    page.browser.wait("document.getElementById('banner').hidden")
    page.browser.run("store.settings.max_tokens = -5")
    page.send("too much")
    page.browser.wait("document.querySelector('.failure')")
    assert "max_tokens" in page.browser.run("document.querySelector('.failure').textContent")
    page.shot("06-error")
    page.browser.run("store.settings.max_tokens = null")
    page.click("[data-action=retry]")
    page.browser.wait(f"{IDLE} && !document.querySelector('.failure')")


def test_dark_and_phone(page):
    page.browser.run("document.getElementById('messages').parentNode.scrollTop = 0")
    page.click("[data-action=toggle-theme]")
    assert page.browser.run("document.documentElement.dataset.theme") == "dark"
    page.shot("07-dark")
    page.browser.size(390, 844, mobile=True)
    page.browser.call("Page.reload")
    page.browser.wait(f"document.readyState === 'complete' && {LAST}")
    page.browser.wait("document.querySelector('.dot.ready')")
    assert page.browser.run("document.documentElement.scrollWidth") <= 390
    page.shot("08-phone-dark")
    page.click("[data-action=toggle-theme]")
    page.click("[data-action=toggle-sidebar]")
    page.shot("09-phone-sidebar")
    page.click("[data-action=close-drawers]")
    page.click("header [data-action=toggle-panel]")
    page.shot("10-phone-panel")
    page.click("#panel [data-action=close-drawers]")
    page.browser.size(1280, 860)


def test_notices_the_servers_end(page):
    assert page.server.stop() == 0
    page.browser.wait("document.getElementById('banner').textContent.includes('cannot be reached')")
    page.shot("11-gone")


def main():
    if find_chromium() is None:
        print("no Chromium here: skipped")
        return 77
    shots = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else None
    if shots:
        shots.mkdir(parents=True, exist_ok=True)
    with Server(sys.argv[1], "--tick-us", 1500) as server:
        page = Page(server, shots)
        try:
            for test in (test_sends_and_renders, test_streams_and_stops, test_regenerates_and_edits,
                         test_survives_a_reload, test_settings_reach_the_server, test_shows_errors,
                         test_dark_and_phone):
                test(page)
                print("passed", test.__name__)
            # A refused request is an error of the network log, and wanted here.
            problems = [p for p in page.browser.problems if "400 (Bad Request)" not in p]
            assert not problems, problems
            test_notices_the_servers_end(page)
            print("passed test_notices_the_servers_end")
        finally:
            page.shot("last")
            page.browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
