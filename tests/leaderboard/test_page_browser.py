"""The page in a browser: what a mouse, a keyboard, a phone and a screen reader get of it, and what a hostile name does not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect, sync_playwright
from wbench.leaderboard.index.entry import Entry
from wbench.leaderboard.page.render import write
from wbench.leaderboard.tables import ALL, RankInterval

from .browser import CHROMIUM
from .page_data import CAST, CONTRACT, EPISODES, Made, entries, many, result

HOSTILE = (
    "</script><script>window.broken = 1; alert(1)</script>",
    "<img src=x onerror='window.broken = 1'>",
    '"><svg onload=window.broken=1>',
    "</script ><script>window.broken = 1</script >",
    "<!--<script >",
    "{{script}}",
    "&lt;b&gt; \u2028 \u202e evil",
)
UNRANKED = dict.fromkeys(("genie", "oracle", "estimator", "belief", "random"), "reference")
UNRANKED |= {"dreamer-mf": "incomplete", "greedy": "does not hold", "coma": "claimed"}
RANKED = len(CAST) + 1 - len(UNRANKED)  # the cast and one incomplete row, but for those
# The name of a control as a screen reader finds it: its label, what labels it, or its own text.
NAMELESS = """() => {
  const text = (ids) => (ids ?? '').split(' ').map((id) => document.getElementById(id)?.textContent ?? '').join('');
  const named = (e) => e.getAttribute('aria-label') || [...(e.labels ?? [])].map((label) => label.textContent).join('')
    || text(e.getAttribute('aria-labelledby')) || (['BUTTON', 'SUMMARY'].includes(e.tagName) ? e.textContent : '');
  const controls = [...document.querySelectorAll('button, input, select, summary, [tabindex], svg[role=img]')];
  return { controls: controls.length, nameless: controls.filter((e) => !named(e).trim()).map((e) => e.outerHTML.slice(0, 120)),
           ids: [...document.querySelectorAll('[id]')].map((e) => e.id), lang: document.documentElement.lang };
}"""


@pytest.fixture(scope="module")
def rows() -> list[Entry]:
    """A dozen rows."""
    return entries()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A headless Chromium; skips where there is none."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def board(rows, tmp_path_factory) -> Path:
    """Their page."""
    return write(rows, tmp_path_factory.mktemp("board"))


@pytest.fixture
def visit(chromium, board):
    """Opens a page, that of the rows unless told; what must never happen on it fails the test that opened it."""
    complaints: list[str] = []
    requests: list[str] = []
    opened: set[str] = set()
    contexts: list[Any] = []

    def visit(address: str = "", page: Path = board, **options: Any) -> Any:
        contexts.append(chromium.new_context(**options))
        tab = contexts[-1].new_page()
        tab.set_default_timeout(60_000)
        tab.on("console", lambda message: complaints.append(f"console: {message.text}"))
        tab.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        tab.on("dialog", lambda dialog: (complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        tab.on("request", lambda request: requests.append(request.url.partition("#")[0]))
        opened.add(page.as_uri())
        tab.goto(page.as_uri() + address)
        return tab

    yield visit
    for context in contexts:
        context.close()
    assert complaints == [] and set(requests) == opened


def names(tab: Any, part: str = "ranked") -> list[str]:
    """Agents of one part of the table, as shown."""
    return tab.locator(f"#{part} .name button").all_text_contents()


def column(tab: Any, key: str) -> list[str]:
    return tab.locator(f"#ranked td.col-{key}").all_text_contents()


def test_it_opens_with_ties_and_with_unranked_rows_below(visit, rows):
    tab = visit()
    at_5 = {row.result.label: row for row in rows if row.rank(5)}
    best_first = sorted(at_5, key=lambda label: (at_5[label].rank(5).best, -at_5[label].result.summary["5"].iqm))
    assert names(tab) == best_first
    assert column(tab, "rank") == [str(at_5[label].rank(5)).replace("-", "\u2013") for label in best_first]
    assert "\u2013" in "".join(column(tab, "rank"))  # the cast has ties
    reasons = tab.locator("#unranked .why").all_text_contents()
    assert dict(zip(names(tab, "unranked"), reasons, strict=True)) == UNRANKED
    first = ["Score against shots", "Gain against cost", "Score site by site"]
    assert tab.locator("#figures h3").all_text_contents()[:3] == first
    assert tab.locator("#figures figure").count() == 7 and tab.locator("#figures svg[role=img]").count() == 11
    assert tab.locator(".terms dt").all_text_contents() == ["Shot", "Site", "Track"]


def test_it_sorts_by_mouse_and_by_keyboard(visit):
    tab = visit()
    tab.click("[data-key=agent]")
    assert names(tab) == sorted(names(tab)) and tab.locator("th[aria-sort]").get_attribute("class") == "col-agent"
    tab.keyboard.press("Enter")  # the header keeps the focus
    assert names(tab) == sorted(names(tab), reverse=True)
    assert tab.locator("thead th.col-agent").get_attribute("aria-sort") == "descending"
    tab.keyboard.press("Tab")
    tab.keyboard.press("Space")
    scores = [float(text.split(",")[0].replace("\u2212", "-")) for text in column(tab, "score")]
    assert scores == sorted(scores, reverse=True) and len(scores) == RANKED
    assert set(names(tab, "unranked")) == set(UNRANKED)  # whatever it is sorted by
    for _ in range(2):
        tab.click("[data-key=latency]")
        assert column(tab, "latency")[-1] == "\u2013" and names(tab)[-1] == "rule"  # what is not known goes last either way


def test_it_filters_by_text_family_shots_and_protocol(visit, rows):
    tab = visit()
    tab.fill("#filter", "Mappo RERUN")
    assert set(names(tab)) == {"mappo/scratch", "mappo/online"} and names(tab, "unranked") == []
    tab.fill("#filter", "no such agent")
    assert tab.locator("#empty").text_content() == "No row matches “no such agent”." and not tab.locator("#board").is_visible()
    tab.fill("#filter", "")
    tab.locator("#families label", has_text="power").click()
    tab.locator("#shots label", has_text="20").click()
    shown = dict(zip(names(tab), column(tab, "score"), strict=True))
    for row in rows:
        if rank := row.rank(20, "power"):
            assert shown[row.result.label].startswith(f"{row.result.summary['20'].families['power'].iqm:.1f}")
            assert str(rank).replace("-", "\u2013") in column(tab, "rank")
    assert "power" in tab.url and "shots=20" in tab.url
    tab.select_option("#protocol", index=1)
    assert (names(tab), names(tab, "unranked")) == ([], ["networld"])
    assert "None of its rows is ranked" in tab.locator("#facts").text_content()


def test_a_link_opens_what_it_names_and_ignores_nonsense(visit):
    tab = visit("#family=offload&shots=20&filter=networld")
    assert tab.locator("#families input:checked").input_value() == "offload" and set(names(tab)) == {
        "networld",
        "networld-no-mf",
    }
    tab = visit("#family=<b>&shots=7&protocol=zzz&sort=__proto__")
    assert tab.locator("#families input:checked").input_value() == "all" and len(names(tab)) == RANKED


def test_a_row_opens_and_its_command_can_be_copied(visit):
    tab = visit(permissions=["clipboard-read", "clipboard-write"])
    opener = tab.locator("#ranked .name button", has_text="networld").first
    opener.press("Enter")
    sheet = tab.locator(".sheet")
    assert opener.get_attribute("aria-expanded") == "true"
    assert sheet.locator("code").all_text_contents() == [CAST_COMMAND, "wbench results verify networld-lite-1f0c2a9be7d4.json"]
    assert "2\u202f856\u202f066" in sheet.text_content() and "rerun: a sample" in sheet.text_content()
    sheet.locator(".copy").first.click()
    expect(sheet.locator(".copy").first).to_have_text("Copied")
    assert tab.evaluate("navigator.clipboard.readText()") == CAST_COMMAND
    opener.press("Enter")
    assert tab.locator(".sheet").count() == 0


TWO_SITES = {n: f | {e: f[e][:2] for e in ("random", "genie")} for n, f in CONTRACT["variants"].items()}
CAST_COMMAND = "wbench eval --agent networld --protocol lite --against none --out result.json"


def test_figures_follow_the_ticks_eight_at_most(visit, rows):
    tab = visit()
    assert tab.locator("#legend li").count() == 6
    for name in ("qmix", "bc", "random"):
        tab.get_by_label(f"{name} in the figures", exact=True).click(force=True)  # a mark covers the box
    assert tab.locator("#legend li").count() == 8 and "8 agents at most" in tab.locator("#notice").text_content()
    curve = tab.locator("figure", has_text="Score against shots")
    assert curve.locator(".curve").count() == 8 and curve.locator(".ribbon").count() == 8
    assert len({path.get_attribute("stroke-dasharray") for path in curve.locator(".curve").all()}) == 8
    lines = {"belief", "estimator", "oracle", "genie"} - set(legend(tab))
    assert curve.locator(".guide").count() == len(lines) and set(curve.locator("text.over").all_text_contents()) == lines
    curve.locator("summary").click()
    assert curve.locator("tbody tr", has_text="qmix").locator("td").nth(2).text_content() == interval(rows, "qmix", "5")
    tab.get_by_label("Take qmix out of the figures").click()
    assert curve.locator(".curve").count() == 7


def test_who_cannot_be_drawn_is_named_under_the_figure(visit, tmp_path, monkeypatch):
    cast = [result(made) for made in CAST[:3]]
    nothing = {"goodput": (0.0,) * EPISODES}
    cells = [replace(cell, qos=cell.qos | (nothing if cell.family == "access" else {})) for cell in cast[1].cells]
    cast[1] = replace(cast[1], cells=tuple(cells))
    monkeypatch.setattr("wbench.leaderboard.page.model.PROFILED", 2)
    tab = visit(page=write([Entry(f"{one.label}.json", one, "reported") for one in cast], tmp_path))
    delay, profiles = (
        tab.locator("figure", has=tab.get_by_role("heading", name=name)) for name in ("Delay against", "profiles")
    )
    assert delay.locator(".note").text_content() == (
        f"Not drawn, for they delivered nothing in a variant: {cast[1].label} (access)."
    )
    assert [plot.locator(".marker").count() for plot in delay.locator(".plot").all()] == [2, 3, 3]
    last = tab.locator("#unranked .name button").last.text_content()
    assert profiles.locator(".note").text_content() == f"Not drawn: {last}. Only the first 2 rows of a board have profiles."
    assert profiles.locator(".curve").count() == 2 and tab.locator("figure .note").count() == 3
    assert tab.locator("figure .note").nth(0).text_content().startswith(f"Not drawn: {last}. Cells are missing, or")


def test_points_of_a_site_and_gains_follow_shots_and_family(visit, rows):
    tab = visit("#family=power&shots=20")
    strip = tab.locator("figure", has_text="Score site by site")
    qmix = next(row for row in rows if row.result.label == "qmix")
    tab.get_by_label("qmix in the figures", exact=True).click(force=True)
    points = strip.locator("circle title").evaluate_all("all => all.map((each) => each.textContent)")
    table = qmix.table(20, "power")[0]
    names = [name for name in qmix.grid.variants if name.startswith("power/")]
    wanted = {f"qmix, {v}, site held-out:{s}: {table[i][s]:.1f}" for i, v in enumerate(names) for s in range(5)}
    assert wanted <= set(points) and len(points) == 7 * 10 and strip.locator(".curve").count() == 7
    strip.locator("summary").click()
    lines = strip.locator("tbody tr").all_text_contents()
    assert len(lines) == 11 and lines[10].endswith(f"{table[1][4]:.1f}")
    assert lines[0].endswith(f"{qmix.estimate(20, 'power').iqm:.1f}")

    gains = tab.locator("figure", has_text="Gain against cost")
    gains.locator("summary").click()
    told = [row for row in gains.locator("tbody tr").all_text_contents() if row.startswith("qmix")]
    assert told == [f"qmix{qmix.gain(20, 'power'):.1f}498\u202fk0.66"] and gains.locator(".marker").count() == 14
    tab.locator("#shots label", has_text="0").first.click()
    assert gains.locator(".empty").all_text_contents() == ["At 0 shots there is no gain. Choose more."] * 2


def test_tracks_are_a_choice_and_stay_in_the_address(visit):
    tab = visit()
    tab.locator("#tracks label", has_text="online").click()
    assert set(names(tab)) == {"iql/online", "mappo/online"} and "track=online" in tab.url
    tab.reload()
    assert set(names(tab)) == {"iql/online", "mappo/online"}
    tab.locator("#tracks label", has_text="scratch").click()
    assert names(tab) == ["mappo/scratch"] and names(tab, "unranked") == []
    tab.fill("#filter", "bc")
    assert tab.locator("#empty").text_content() == "No row of the track scratch matches “bc”."


def test_scores_with_other_logs_stand_in_columns_and_in_an_opened_row(visit, rows, tmp_path):
    control = result(Made("networld", (61.0, 70.0, 52.0), 0, parameters=2_856_066), contract=CONTRACT | {"shots": [5]})
    beside = replace(rows[0], controls={"wrong": Entry("control.json", control, "rerun")})
    tab = visit(page=write([beside, *rows[1:]], tmp_path))
    k = beside.control("wrong", 5)
    shown = dict(zip(names(tab), column(tab, "wrong"), strict=True))
    assert shown["networld"].startswith(f"{k.score.iqm:.1f}, 95 % interval {k.score.ci_low:.1f}") and shown["bc"] == "\u2013"
    assert tab.locator("thead .col-shifted").count() == 0  # nobody has played these
    tab.locator("#ranked .name button", has_text="networld").first.click()
    cells = tab.locator(".sheet table").last.locator("tbody tr").first.locator("th, td").all_text_contents()
    assert cells[:3] == ["wrong", "5", f"{k.score:.1f}"] and cells[3] == f"{k.gain:.1f}".replace("-", "\u2212")
    tab.locator("#shots label", has_text="20").click()
    assert set(column(tab, "wrong")) == {"\u2013"}


def legend(tab: Any) -> list[str]:
    return tab.locator("#legend li > span").all_text_contents()


def interval(rows: list[Entry], label: str, shots: str) -> str:
    found = next(row for row in rows if row.result.label == label).result.summary[shots]
    return f"{found:.1f}"


def test_hostile_names_stay_names(visit, rows, tmp_path):
    hostile = [
        Entry(f"{name}.json", replace(rows[0].result, label=name, command=name, versions={name: name}), "reported")
        for name in HOSTILE
    ]
    tab = visit(page=write([*rows, *hostile], tmp_path))
    assert set(names(tab, "unranked")) == {*UNRANKED, *HOSTILE}
    for name in HOSTILE[:2]:
        tab.get_by_label(f"{name} in the figures", exact=True).click(force=True)
        tab.locator("#unranked .name button").get_by_text(name, exact=True).click()
    assert set(HOSTILE[:2]) <= set(tab.locator(".sheet code").all_text_contents())
    for place in ("#legend span", ".heat tbody th"):
        assert tab.locator(place).all_text_contents()[-2:] == list(HOSTILE[:2])
    assert tab.evaluate("[window.broken, document.images.length, document.scripts.length]") == [None, 0, 2]


def test_every_control_and_figure_has_a_name(visit):
    tab = visit()
    tab.locator("#ranked .name button").first.click()
    found = tab.evaluate(NAMELESS)
    assert found["controls"] > 50 and found["nameless"] == [] and len(found["ids"]) == len(set(found["ids"]))
    assert found["lang"] == "en" and tab.locator("h1").count() == 1
    tab.reload()
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.className") == "skip" and tab.locator(".skip").bounding_box()["x"] == 0
    tab.keyboard.press("Enter")
    assert tab.evaluate("document.activeElement.id") == "board"


# The contrast of every text that can be seen with what is behind it, after WCAG 2.
CONTRAST = """() => {
  const rgba = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (x) => (x / 255 <= .04045 ? x / 255 / 12.92 : ((x / 255 + .055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => .2126 * linear(r) + .7152 * linear(g) + .0722 * linear(b);
  const ground = (e) => {
    const colour = rgba(getComputedStyle(e).backgroundColor);
    return colour[3] === 0 ? ground(e.parentElement) : colour;
  };
  const seen = (e) => e.checkVisibility({ visibilityProperty: true }) && !e.closest('script, style, .unseen, button:disabled');
  const found = [], texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const text = texts.currentNode.data.trim(), e = texts.currentNode.parentElement;
    if (!text || !seen(e)) continue;
    const style = getComputedStyle(e), ink = light(rgba(e.closest('svg') ? style.fill : style.color)), paper = light(ground(e));
    found.push([(Math.max(ink, paper) + .05) / (Math.min(ink, paper) + .05), text.slice(0, 30)]);
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_both_themes(visit, scheme):
    tab = visit(color_scheme=scheme)
    tab.locator("#ranked .name button").first.click()
    tab.mouse.move(0, 0)
    seen = tab.evaluate(CONTRAST)
    assert len(seen) > 300 and [each for each in seen if each[0] < 4.5] == []
    paper = "getComputedStyle(document.body).backgroundColor"
    before = tab.evaluate(paper)
    tab.click("#theme")
    assert tab.evaluate(paper) != before and [each for each in tab.evaluate(CONTRAST) if each[0] < 4.5] == []


@pytest.mark.parametrize("width", [320, 400])
def test_on_a_phone_only_the_table_scrolls_sideways_and_agents_stay(visit, width):
    tab = visit(viewport={"width": width, "height": 700})
    tab.locator("#ranked .name button").first.click()
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    tab.evaluate("document.getElementById('board').scrollLeft = 300")
    board, agent, sheet = (tab.locator(each).first.bounding_box() for each in ("#board", "#ranked .col-agent", ".sheet"))
    assert abs(agent["x"] - board["x"]) <= 2 and agent["width"] < width / 2
    assert sheet["x"] >= board["x"] and sheet["width"] <= board["width"]


def test_ten_thousand_rows_come_in_pages_and_sort_as_one(visit, tmp_path):
    tab = visit(page=write(many(10_000), tmp_path))
    assert len(names(tab)) == 100 and tab.locator("#position").text_content() == "1\u2013100 of 10\u202f000"
    tab.click("[data-key=agent]")
    assert names(tab) == [f"agent-{number:05d}" for number in range(100)]
    tab.click("#next")
    assert names(tab)[0] == "agent-00100"
    tab.fill("#filter", "agent-0999")
    assert names(tab) == [f"agent-{number:05d}" for number in range(9990, 10_000)]
    assert not tab.locator("#pager button").first.is_visible()


def test_the_smallest_boards_open_too(visit, tmp_path):
    tab = visit(page=write([], tmp_path))
    assert "No results yet" in tab.locator("#empty").text_content() and not tab.locator("#controls").is_visible()
    lone = result(
        Made("lone", (-80.0, 130.0, 0.0), 0),
        contract=CONTRACT | {"shots": [0], "sites": CONTRACT["sites"][:2], "variants": TWO_SITES},
    )
    lone = replace(lone, cells=tuple(replace(cell, qos={}) for cell in lone.cells))
    tab = visit(page=write([Entry("lone.json", lone, "reported", {ALL: {0: RankInterval(1, 1)}})], tmp_path))
    assert names(tab) == ["lone"] and "no interval" in column(tab, "score")[0]
    assert "No row has delivered" in tab.locator("figure", has_text="Delay against energy").text_content()
