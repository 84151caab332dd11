"""The page: whole, safe, without network, and the same to a browser in the light and in the dark, wide and narrow."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pytest_wschaos import Profile, ReferenceClient
from pytest_wschaos.conformance.reports.html import page
from pytest_wschaos.conformance.reports.report import Report
from pytest_wschaos.conformance.subjects.factory import InProcess
from pytest_wschaos.conformance.subjects.reference import reference
from pytest_wschaos.conformance.suite.case import select
from pytest_wschaos.conformance.suite.play import Settings, play

HOSTILE = "<script>alert(1)</script>\x1b[31m"
VOID = {"meta", "link", "br"}


def hasty(url: str, *, profile: Profile, **options: object) -> ReferenceClient:
    """A client that gives up early."""
    return reference(url, profile=profile.with_(reconnect={"max_retries": 3}), **options)  # type: ignore[arg-type]


hasty.hello = reference.hello  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def text() -> str:
    cases = select("RECONNECT-06/refused", "RECONNECT-02")
    settings = Settings(clock="virtual", repeat=lambda case: f"wschaos check {case.id} {HOSTILE}")
    reports = [
        Report(subject=name, results=[play(case, InProcess(factory), settings) for case in cases])
        for name, factory in (("reference", reference), (HOSTILE, hasty))
    ]
    return page(reports)


class Tree(HTMLParser):
    """Refuses what is not nested well; collects ids, links and what is loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids += [value for name in ("id",) if (value := given.get(name))]
        self.links += [value for name in ("href", "src") if (value := given.get(name))]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()


def test_it_is_well_formed_and_every_link_leads_somewhere_in_it(text: str) -> None:
    tree = Tree()
    tree.feed(text)
    assert tree.open == []
    assert [id for id, number in Counter(tree.ids).items() if number > 1] == []
    assert {link for link in tree.links if link.startswith("#")} <= {f"#{id}" for id in tree.ids}
    assert [link for link in tree.links if not link.startswith("#")] == ["data:,"]  # nothing is loaded
    assert not re.search(r"url\(|@import", text), "something is loaded"


def test_what_a_subject_says_is_never_markup(text: str) -> None:
    assert not re.search(r"<script>alert|\x1b", text), "it is markup, or moves a terminal's cursor"
    assert re.search(re.escape(html.escape("<script>alert(1)</script>")), text), "it is not shown"


def test_the_scoreboard_has_each_rule_and_each_subject(text: str) -> None:
    board = text.partition('class="board')[2].partition("</table>")[0]
    row = re.search(r"<th>RECONNECT-06.*?</tr>", board)
    assert row is not None
    assert re.findall(r'<td class="([\w-]+)">', row[0]) == ["PASS", "FAIL"]
    assert re.search(r"<th>RECONNECT-02.*?4 of 4 cases", board) is not None


def test_a_failed_case_shows_what_happened_and_how_to_see_it_again(text: str) -> None:
    failed = text[text.index('class="case" id="1-RECONNECT-06/refused"') :]
    for part in ("3 of 10 retries were made", "wschaos check RECONNECT-06/refused", 'class="lanes"', 'class="delays"'):
        assert failed.count(part) >= 1, "is not there"
    assert failed.count('class="band"') == 3


BROWSERS = ("chromium", "chromium-browser", "google-chrome")
HEADLESS = """
--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync --enable-logging=stderr --window-size=1400,1000
"""
FRAME = """<!doctype html><title>waiting</title><iframe style="width:{width}px;height:900px;border:0"></iframe><script>
const frame = document.querySelector("iframe");
frame.onload = () => {{
  const page = frame.contentDocument;
  page.querySelectorAll("details").forEach((one) => (one.open = true));
  page.getElementById("theme").click();
  const theme = page.documentElement.dataset.theme;
  document.title = `${{page.documentElement.scrollWidth}} ${{theme}} ${{page.querySelectorAll("svg").length}}`;
}};
frame.srcdoc = {page};
</script>"""


@pytest.fixture(scope="module")
def browser() -> str:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        how = "no Chromium on PATH: install it (Debian: apt-get install chromium)"
        if os.environ.get("WSCHAOS_REQUIRE_REAL") == "1":
            pytest.fail(how, pytrace=False)
        pytest.skip(how)
    return found


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("scheme", [0, 1], ids=["dark", "light"])
def test_a_browser_has_nothing_to_complain_of(text: str, browser: str, tmp_path: Path, width: int, scheme: int) -> None:
    script = json.dumps(text).replace("</", "<\\/")
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME.format(width=width, page=script), encoding="utf-8")
    colours = f"--blink-settings=preferredColorScheme={scheme}"
    command = [
        browser,
        *HEADLESS.split(),
        colours,
        f"--user-data-dir={tmp_path / 'user'}",
        "--dump-dom",
        frame.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in done.stderr
    title = re.search(r"<title>(.*?)</title>", done.stdout)
    assert title is not None
    scroll, theme, drawings = title[1].split()
    assert int(scroll) <= width  # what is wider scrolls by itself
    assert theme == ("light" if scheme == 0 else "dark")  # the other one, by the button
    assert int(drawings) >= 6
