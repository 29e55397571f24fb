"""How long the page takes with 10,000 synthetic rows, in headless Chromium: to make, to open, to sort, to filter.

Prints the time until it is shown, and the processor time of the page's main thread, which a busy machine does not change.

python experiments/page.py [ROWS]
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from playwright.sync_api import CDPSession, sync_playwright

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "leaderboard"))

from browser import CHROMIUM  # noqa: E402
from page_data import many  # noqa: E402
from wbench.leaderboard.page.render import write  # noqa: E402

UNTIL_SHOWN = "new Promise((done) => requestAnimationFrame(() => setTimeout(done)))"
ACTIONS = {
    "sort by agent": "document.querySelector('[data-key=agent]').click()",
    "sort by score": "document.querySelector('[data-key=score]').click()",
    "filter": "byId('filter').value = '77'; byId('filter').dispatchEvent(new Event('input'))",
    "other shots": "document.querySelectorAll('[name=shots]')[3].click()",
    "open details": "document.querySelector('[data-row]').click()",
}


def main_thread(meter: CDPSession) -> float:
    """Processor seconds of the page's main thread so far."""
    return next(each["value"] for each in meter.send("Performance.getMetrics")["metrics"] if each["name"] == "TaskDuration")


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        entries, started = many(rows), time.perf_counter()
        page = write(entries, Path(folder))
        print(f"{rows} rows: made in {time.perf_counter() - started:.1f} s, {page.stat().st_size / 1e6:.1f} MB")
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = browser.new_page(bypass_csp=True)  # the page itself forbids scripts that come from outside
        meter = tab.context.new_cdp_session(tab)
        meter.send("Performance.enable", {"timeDomain": "threadTicks"})

        def report(name: str, act: Callable[[], object]) -> None:
            before, started = main_thread(meter), time.perf_counter()
            act()
            tab.evaluate(UNTIL_SHOWN)
            wall, busy = time.perf_counter() - started, main_thread(meter) - before
            print(f"{name:14} {1000 * wall:7.0f} ms, main thread {1000 * busy:5.0f} ms")

        report("open", lambda: tab.goto(page.as_uri()))
        for name, action in ACTIONS.items():
            report(name, partial(tab.evaluate, action))
        browser.close()


if __name__ == "__main__":
    main()
