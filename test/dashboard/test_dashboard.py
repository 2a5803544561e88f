#!/usr/bin/env python3
"""The dashboard in a real browser, fed by made-up systems; each test is a function named test_*.

    python3 test/dashboard/test_dashboard.py [name…]     all tests, or those whose name has one of these
    PROA_DASHBOARD_URL=http://127.0.0.1:8080/ …          looks at a running page instead (the live_* tests)

Needs Chromium and nothing else. Ends with one line, and with status 1 if anything failed.
"""

import contextlib
import copy
import json
import os
import sys
import time
import traceback
import urllib.request

from browser import Browser
from feed_server import Feed
from scenarios import ATTACKS, shop, spike

READY = "!document.body.classList.contains('waiting')"
BROWSER = None


@contextlib.contextmanager
def shown(scenario="normal", hash_="", ready=True, **look):
    """A page that shows a scenario; afterwards its console must be clean."""
    feed = Feed(scenario, period=0.2)
    page = BROWSER.page(**look)
    page.feed = feed
    page.quiet = True
    try:
        page.open(feed.url + hash_)
        if ready:
            page.wait(READY)
        yield page
        if page.quiet:
            assert not page.errors, f"the console is not clean: {page.errors[:3]}"
    finally:
        page.close()
        if feed.server:
            feed.down()


def node(id_):
    return f"[...document.querySelectorAll('.node')].find(n => n.dataset.id === {json.dumps(id_)})"


def edge(source, target):
    return (
        f"[...document.querySelectorAll('.edge')].find(e => e.dataset.from === {json.dumps(source)}"
        f" && e.dataset.to === {json.dumps(target)})"
    )


def still(page, **totals):
    """Freezes the feed on one known snapshot and waits until the page shows it."""
    s = shop(5)
    s["totals"].update(totals)
    s["time"] = "2030-01-02T03:04:05.678Z"
    page.feed.show(s)
    page.wait(f"document.body.dataset.time === String(Date.parse('{s['time']}'))")
    return s


def figure(page, tile):
    return page.js(
        f"document.querySelector('[data-tile={tile}] .figure').textContent.replace(/\\s/g, ' ')"
    )


def same(got, want, what):
    assert got == want, f"{what}: the page has {got!r}, not {want!r}"


# ---- what is shown ----


def test_every_node_and_edge_of_the_feed_is_drawn():
    with shown() as page:
        s = still(page)
        want = {x["id"] for k in ("services", "topics", "stores") for x in s[k]} | {
            "client",
            "binding:smtp",
        }
        same(
            set(page.js("[...document.querySelectorAll('.node')].map(n => n.dataset.id)")),
            want,
            "nodes",
        )
        got = page.js(
            "[...document.querySelectorAll('.edge')].map(e => [e.dataset.from, e.dataset.to])"
        )
        same({tuple(e) for e in got}, {(e["from"], e["to"]) for e in s["edges"]}, "edges")
        flat = page.js(
            "[...document.querySelectorAll('.edge .line')].filter(l => l.getTotalLength() < 20).length"
        )
        same(flat, 0, "edges without length")


def test_headline_numbers_equal_the_feed():
    with shown() as page:
        still(
            page,
            rps=212.4,
            p50_ms=3.14,
            p99_ms=1234.0,
            error_rate=0.0132,
            in_flight=17,
            queued=1500,
        )
        same(
            [figure(page, t) for t in ("rps", "p99", "errorRate", "inFlight")],
            ["212/s", "1.23s", "1.3%", "17"],
            "tiles",
        )
        more = page.js(
            "[...document.querySelectorAll('.tile .more')].map(m => m.textContent.replace(/\\s/g, ' '))"
        )
        assert "p50 3.1 ms" in more and "1.5k queued" in more, more


def test_unknown_numbers_are_dashes_not_zeros():
    with shown() as page:
        still(
            page, rps=None, p50_ms=None, p99_ms=None, error_rate=None, in_flight=None, queued=None
        )
        same([figure(page, t) for t in ("rps", "p99", "errorRate", "inFlight")], ["–"] * 4, "tiles")


NUMBERS = {
    "count": [
        (0, "0"),
        (0.001, "<0.01"),
        (0.31, "0.31"),
        (4.25, "4.3"),
        (42.4, "42"),
        (999.6, "1k"),
        (1250, "1.25k"),
        (12345, "12.3k"),
        (999500, "1M"),
        (2.5e9, "2.5G"),
        (None, "–"),
        ("7", "–"),
    ],
    "latency": [
        (0, "0 ms"),
        (0.3, "0.3 ms"),
        (9.94, "9.9 ms"),
        (999.6, "1 s"),
        (1234, "1.23 s"),
        (3e6, "50 min"),
        (None, "–"),
    ],
    "share": [
        (0, "0 %"),
        (0.0001, "<0.1 %"),
        (0.004, "0.4 %"),
        (0.0995, "10 %"),
        (1, "100 %"),
        (None, "–"),
    ],
    "duration": [
        (0.4, "400 ms"),
        (0.9999, "1 s"),
        (59.6, "1 min"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (90000, "1 d 1 h"),
        (-1, "–"),
    ],
    "bytes": [(38 << 20, "38 MiB"), (3 << 29, "1.5 GiB"), (1023, "1 KiB"), (None, "–")],
    "severity": [(0.0049, "ok"), (0.005, "warn"), (0.05, "bad"), (None, "ok")],
}


def test_numbers_read_as_people_write_them():
    with shown() as page:
        for name, rows in NUMBERS.items():
            for value, want in rows:
                got = page.js(
                    f"import('/js/format.js').then(f => f.{name}({json.dumps(value)}).replace(/\\s/g, ' '))"
                )
                same(got, want, f"{name}({value!r})")


def test_edge_labels_equal_the_feed():
    with shown() as page:
        s = shop(5)
        s["time"] = "2030-01-02T03:04:05.678Z"
        e = next(e for e in s["edges"] if e["to"] == "payment")
        e.update(rps=42.0, p50_ms=3.0, p99_ms=8.0, error_rate=0.25)
        page.feed.show(s)
        label = "[...document.querySelectorAll('.label')].find(l => l.dataset.id === 'invoke orders → payment').textContent.replace(/\\s+/g, ' ')"
        page.wait(f"{label} === '42/s 25 %3 · 8 ms'")


def test_tables_equal_the_feed():
    with shown() as page:
        s = still(page)
        rows = page.js(
            "[...document.querySelectorAll('#services tbody tr')].map(r => [...r.cells].map(c => c.textContent))"
        )
        wanted = [i for x in s["services"] for i in x["instances"]]
        same([r[3].split(" ")[0] for r in rows], [i["name"] for i in wanted], "instances")
        same([r[4] for r in rows], [i["state"] for i in wanted], "states")
        same([r[9] for r in rows], [str(i["pid"]) for i in wanted], "pids")
        same(
            [r[10] for r in rows], [f"{i['app_port']} · {i['http_port']}" for i in wanted], "ports"
        )
        rows = page.js(
            "[...document.querySelectorAll('#topics tbody tr')].map(r => [...r.cells].map(c => c.textContent))"
        )
        same(
            [[r[3], r[4], r[6]] for r in rows],
            [
                [c["app"], str(c["depth"]), str(c["dead"])]
                for t in s["topics"]
                for c in t["consumers"]
            ],
            "topics",
        )
        rows = page.js(
            "[...document.querySelectorAll('#stores tbody tr')].map(r => [...r.cells].map(c => c.textContent))"
        )
        same(
            [r[:3] for r in rows], [[x["name"], x["app"], x["type"]] for x in s["stores"]], "stores"
        )
        rows = page.js(
            "[...document.querySelectorAll('#resources tbody tr')].map(r => [...r.cells].map(c => c.textContent))"
        )
        same(
            [[r[0], r[5]] for r in rows],
            [[x["name"], x["file"]] for x in s["resources"]],
            "resources",
        )
        assert s["resources"][-1]["error"] in rows[-1][4], rows[-1]


def test_progress_is_shown_only_while_there_is_some():
    with shown() as page:
        page.wait(
            "!document.getElementById('progress').hidden && document.getElementById('progress-bar').max === 60"
        )
        page.feed.play("slow")
        page.wait("document.getElementById('progress').hidden")


def test_sparkline_grows_with_the_feed():
    with shown() as page:
        page.wait(
            "document.querySelector('[data-tile=rps] .stroke').getAttribute('d').split('L').length > 5"
        )


# ---- what goes wrong ----


def test_failing_edge_turns_red_and_back():
    with shown() as page:
        bad = page.js(
            "getComputedStyle(document.documentElement).getPropertyValue('--bad')"
        ).strip()
        rgb = "rgb({}, {}, {})".format(*(int(bad[i : i + 2], 16) for i in (1, 3, 5)))
        stroke = f"getComputedStyle({edge('orders', 'payment')}.querySelector('.line')).stroke"
        assert page.js(stroke) != rgb
        page.feed.play("killed")
        page.wait(f"{stroke} === {json.dumps(rgb)}")
        page.feed.play("normal")
        page.wait(f"{stroke} !== {json.dumps(rgb)}")


def test_killed_service_is_marked_and_comes_back():
    with shown("killed") as page:
        page.wait(f"{node('payment')}.classList.contains('h-bad')")
        page.wait(
            "[...document.querySelectorAll('#services td .state')].some(s => s.textContent === 'stopped')"
        )
        page.wait(f"{node('payment')}.classList.contains('h-ok')")
        page.wait(
            "[...document.querySelectorAll('#event-list li')].some(l => l.textContent.includes('signal 9'))"
        )


def test_slow_service_shows_its_latency():
    with shown("slow") as page:
        page.wait("/ms|s$/.test(document.querySelector('[data-tile=p99] .unit').textContent)")
        page.wait(
            "[...document.querySelectorAll('.label')].find(l => l.dataset.id === 'invoke orders → payment').textContent.match(/· \\d{3}/)"
        )


def test_overload_fills_the_queue():
    with shown("overload") as page:
        page.wait(f"{node('topic:bus/orders.placed')}.querySelectorAll('rect.lit').length >= 5")
        page.wait("document.querySelector('[data-tile=errorRate]').classList.contains('e-bad')")


def test_runtime_that_ends_shows_when_and_page_reconnects():
    with shown() as page:
        page.quiet = False  # the browser itself reports the refused connection
        assert page.js("document.getElementById('banner').hidden")
        page.feed.down()
        page.wait("!document.getElementById('banner').hidden")
        said = page.js("document.getElementById('banner-text').textContent")
        clock = said.removeprefix("Runtime stopped at ")
        time.strptime(clock, "%H:%M:%S")
        assert page.js(
            "document.body.classList.contains('lost') && document.title.startsWith('stopped')"
        )
        assert (
            page.js("document.querySelectorAll('.node').length") > 5
        ), "the last state stays on the page"
        page.feed.up()
        page.wait(
            "document.getElementById('banner').hidden && document.getElementById('line-text').textContent === 'live'"
        )
        unexpected = [e for e in page.errors if "ERR_" not in e]
        assert not unexpected, unexpected


def test_silent_feed_counts_as_lost():
    with shown() as page:
        page.feed.mute = True
        page.wait("!document.getElementById('banner').hidden")
        page.feed.mute = False
        page.wait("document.getElementById('banner').hidden")


def test_unreadable_feed_does_not_stop_the_page():
    with shown() as page:
        page.feed.show([1, None, "x"])
        page.wait("document.getElementById('run-name').textContent === 'unnamed run'")
        page.feed.play("normal")
        page.wait("document.getElementById('run-name').textContent === 'orders'")


def test_hostile_strings_stay_text():
    with shown("hostile") as page:
        page.wait(f"document.querySelectorAll('.node').length >= {len(ATTACKS)}")
        page.js(f"location.hash = 'sel=' + encodeURIComponent({json.dumps(ATTACKS[0])})")
        page.wait(f"document.querySelector('#detail h2').textContent === {json.dumps(ATTACKS[0])}")
        assert page.js(
            "window.hacked === undefined && ({}).hacked === undefined"
        ), "a string of the feed ran"
        same(
            page.js("document.querySelectorAll('script, img').length"),
            3,
            "script and img elements (1 script, 2 icons)",
        )
        same(
            page.js(
                "document.querySelectorAll('[onerror], [onload], iframe, object, a[href^=javascript]').length"
            ),
            0,
            "injected",
        )
        same(page.js("document.documentElement.scrollWidth - innerWidth"), 0, "horizontal scroll")


def test_empty_system_says_so():
    with shown("empty") as page:
        page.wait("!document.getElementById('graph-empty').hidden")
        assert (
            page.js(
                "[...document.querySelectorAll('.none')].filter(n => !n.hidden && !n.closest('[hidden]')).length"
            )
            == 4
        )
        page.feed.play("normal")
        page.wait(
            "document.getElementById('graph-empty').hidden && document.querySelectorAll('.node').length > 10"
        )


def test_missing_fields_are_survived():
    with shown() as page:
        whole = shop(1)
        for key in list(whole):
            part = copy.deepcopy(whole)
            del part[key]
            part["run"] = {"name": f"without {key}"}
            page.feed.show(part)
            page.wait(f"document.getElementById('run-name').textContent === 'without {key}'")


def test_skewed_clock_of_the_runtime_changes_nothing():
    with shown() as page:
        s = shop(1)
        s["time"] = "1999-01-01T00:00:00Z"
        page.feed.show(s)
        page.wait(f"document.body.dataset.time === String(Date.parse('{s['time']}'))")
        before = page.js(
            "document.querySelector('[data-tile=rps] .stroke').getAttribute('d').split('L').length"
        )
        page.wait(
            f"document.querySelector('[data-tile=rps] .stroke').getAttribute('d').split('L').length > {before}"
        )


# ---- how the system stays up ----

PANELS = ("chaos", "overload", "fleet", "zones", "breakers")


def frozen(page, change=None, at=20):
    """Shows one snapshot of the spike, changed by a function, and waits for it."""
    s = spike(at)
    frozen.number += 1
    s["time"] = f"2030-01-02T04:{frozen.number // 60 % 60:02d}:{frozen.number % 60:02d}.678Z"
    if change:
        change(s)
    page.feed.show(s)
    page.wait(f"document.body.dataset.time === String(Date.parse('{s['time']}'))")
    return s


frozen.number = 0


def cells(page, panel):
    return page.js(
        f"[...document.querySelectorAll('#{panel} tbody tr')].map(r => [...r.cells].map(c =>"
        " c.textContent.replace(/\\s+/g, ' ').trim()))"
    )


def chips(page, app):
    """[name, what it says, class] of each instance in the app's row."""
    return page.js(
        f"""(() => {{ const row = [...document.querySelectorAll('.fleet-row')].find(r =>
        r.querySelector('.pick').textContent === {json.dumps(app)}); return row ? [...row.querySelectorAll('.chip')].map(c =>
        [c.querySelector('bdi').textContent, c.querySelector('.flow').textContent, c.className]) : []; }})()"""
    )


def test_panels_are_there_only_with_something_to_say_and_then_stay():
    hidden = f"{json.dumps(PANELS)}.map(id => document.getElementById(id).hidden)"
    with shown() as page:
        still(page)
        same(page.js(hidden), [True] * 5, "hidden panels of a calm system")
        frozen(page)
        same(page.js(hidden), [False] * 5, "hidden panels")
        still(page)
        same(page.js(hidden), [False] * 5, "hidden panels after it")
        said = page.js("document.querySelector('#chaos .none').textContent")
        same(said, "No fault is active.", "no fault")


def test_overload_panel_equals_the_feed():
    with shown() as page:

        def change(s):
            s["overload"] = [s["overload"][1]]
            s["overload"][0].update(
                limit=40, inflight=38, queued=7, admitted_rps=377.0, shed_rps=123.5
            )
            s["overload"][0]["shed"] = {"critical": 0, "low": 3.5, "background": 120}
            s["overload"][0]["reasons"] = {"limit": 0, "priority": 123.5}

        frozen(page, change)
        same(
            cells(page, "overload"),
            [["orders", "38 of 40", "7", "377/s", "124/s", "low 3.5/s, background 120/s", "priority 124/s"]],
            "row",
        )
        widths = page.js("[...document.querySelectorAll('#overload .stack i')].map(i => i.style.width)")
        same(widths, ["0%", "0%", "0%", "2.8%", "97.2%"], "bar")
        same(page.js("document.querySelector('#overload h2 small').textContent"), "124/s shed", "head")


def test_instances_are_shown_as_their_callers_see_them():
    with shown() as page:
        frozen(page)
        payment = chips(page, "payment")
        same(payment[1][:2], ["payment-2", "ejected by 2 of 3"], "ejected")
        assert "i-unhealthy" in payment[1][2] and "i-healthy" in payment[0][2], payment
        assert any(c[1] == "slow start" for c in chips(page, "orders")), chips(page, "orders")

        def change(s):
            s["peers"].append({"app": "bank", "address": "10.0.0.9:50002", "state": "draining"})
            s["services"][0]["instances"][0]["state"] = "unhealthy"
            next(p for p in s["peers"] if p["name"] == "payment-1").update(rps=40, error_rate=0.125)

        frozen(page, change)
        same(chips(page, "bank")[0][:2], ["10.0.0.9:50002", "draining"], "of another run")
        same(chips(page, "storefront")[0][1], "unhealthy", "the process comes first")
        failing = chips(page, "payment")[0]
        same([failing[1].replace("\u202f", " "), failing[2]], ["40/s · 13 % errors", "chip i-healthy failing"], "errors")


def test_instances_come_and_go_without_a_jump():
    place = "JSON.stringify([...document.querySelectorAll('.fleet-row')].map(r => Math.round(r.getBoundingClientRect().height)))"
    with shown(still=True) as page:

        def of(n):
            def change(s):
                orders = next(x for x in s["services"] if x["id"] == "orders")
                orders["instances"] = orders["instances"][:n]
                s["peers"] = s["peers"][:n]
                s["scale"][0].update(instances=n, desired=8)

            return change

        frozen(page, of(3), at=60)
        same(len([c for c in chips(page, "orders") if "wanted" in c[2]]), 5, "places that are wanted")
        before = page.js(place)
        frozen(page, of(8), at=60)
        same(len([c for c in chips(page, "orders") if "wanted" in c[2]]), 0, "all are there")
        same(page.js(place), before, "heights with eight instances")
        frozen(page, of(2), at=60)
        gone = [c[0] for c in chips(page, "orders") if "gone" in c[2]]
        same(gone, [f"orders-{i}" for i in range(3, 9)], "gone ones linger")
        same(page.js(place), before, "heights with two instances")


def test_scale_says_how_many_and_why():
    row = "[...document.querySelectorAll('.fleet-row')].find(r => r.querySelector('.pick').textContent === 'orders')"
    with shown() as page:

        def change(s):
            s["scale"][0].update(instances=5, desired=8, value=24, target=10, reason="panic")

        frozen(page, change)
        same(page.js(f"{row}.querySelector('.scale').textContent"), "5 → 8 (3 to 12)", "how many")
        same(
            page.js(f"{row}.querySelector('.reason').textContent"),
            "concurrency 24 of 10 · panic",
            "why",
        )


def test_zones_are_a_matrix_and_a_lost_one_keeps_its_place():
    head = "[...document.querySelectorAll('#zones thead th')].slice(1).map(t => t.textContent)"
    with shown() as page:

        def pairs(*pairs, crossing=0.02):
            def change(s):
                s["zones"] = {
                    "pairs": [{"from": a, "to": b, "rps": n} for a, b, n in pairs],
                    "crossing": crossing,
                }

            return change

        frozen(page, pairs(("eu/a", "eu/a", 98.0), ("eu/a", "eu/b", 2.0), ("eu/b", "eu/b", 50.0)))
        same(page.js(head), ["a", "b"], "zones without the region that they share")
        same(cells(page, "zones"), [["a", "98/s", "2/s"], ["b", "–", "50/s"]], "calls")
        same(
            page.js("document.querySelector('#zones h2 small').textContent.replace(/\\s/g, ' ')"),
            "2 % of the calls cross",
            "crossing",
        )
        same(
            page.js("document.querySelector('#zones tbody tr').cells[2].className"), "n cross", "cross"
        )
        frozen(page, pairs(("eu/a", "eu/a", 60.0), crossing=None))
        same(cells(page, "zones"), [["a", "60/s", "–"], ["b", "–", "–"]], "zone b is lost")


def test_breakers_and_faults_equal_the_feed():
    with shown() as page:

        def change(s):
            s["chaos"][0].update(left_s=11.2, injected=1250)

        frozen(page, change)
        same(
            cells(page, "breakers"),
            [
                ["catalog", "closed", "storefront"],
                ["payment-2", "open", "orders, storefront"],
                ["smtp", "half-open", "mailer"],
            ],
            "breakers",
        )
        same(
            page.js("document.querySelector('#breakers h2 small').textContent"), "2 not closed", "head"
        )
        same(
            cells(page, "chaos"),
            [
                [
                    "slow-cards",
                    "delay 200 ms to 600 ms",
                    "payment · POST /charge · zone b · from orders, storefront",
                    "25 %",
                    "1.25k",
                    "12 s",
                ]
            ],
            "faults",
        )


# ---- the layout ----


def overlaps(page):
    return page.js(
        """(() => { const b = [...document.querySelectorAll('.node:not(.leaving)')].map(n => [n.dataset.id,
        n.querySelector('.shape').getBoundingClientRect()]); const hits = [];
        b.forEach(([i, p], k) => b.slice(k + 1).forEach(([j, q]) => { if (Math.min(p.right, q.right) - Math.max(p.left, q.left) > 1
          && Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top) > 1) hits.push(i + ' / ' + j); })); return hits; })()"""
    )


def outside(page):
    return page.js(
        """(() => { const c = document.querySelector('.stage').getBoundingClientRect();
        return [...document.querySelectorAll('.node .shape')].map(n => n.getBoundingClientRect()).filter(r =>
          r.left < c.left || r.right > c.right || r.top < c.top || r.bottom > c.bottom).length; })()"""
    )


def test_no_nodes_overlap_at_any_size():
    for scenario, look in [
        ("normal", {}),
        ("many", {}),
        ("many", {"width": 3840, "height": 2160}),
        ("normal", {"width": 390, "height": 844}),
        ("many", {"width": 390, "height": 844}),
        ("hostile", {}),
    ]:
        with shown(scenario, still=True, **look) as page:
            same(overlaps(page), [], f"overlaps in {scenario} {look}")
            same(outside(page), 0, f"nodes outside the stage in {scenario} {look}")


def test_fifty_services_are_all_there():
    with shown("many") as page:
        page.wait("document.querySelectorAll('.node.service').length === 50")
        same(page.js("document.querySelectorAll('#services tbody tr.first').length"), 50, "rows")
        assert page.js("[...document.querySelectorAll('.edge.e-bad')].length") == 1


def test_layout_is_stable_while_the_structure_is():
    places = "JSON.stringify([...document.querySelectorAll('.node')].map(n => [n.dataset.id, n.getAttribute('transform')]))"
    with shown(still=True) as page:
        before = page.js(places)
        page.feed.play("overload")
        page.wait("document.querySelector('[data-tile=errorRate]').classList.contains('e-bad')")
        same(page.js(places), before, "places")


def test_calls_go_from_left_to_right():
    with shown(still=True) as page:
        x = page.js(
            "Object.fromEntries([...document.querySelectorAll('.node')].map(n => [n.dataset.id, n.querySelector('.shape').getBoundingClientRect().x]))"
        )
        chain = ["client", "storefront", "orders", "payment"]
        assert all(x[a] < x[b] for a, b in zip(chain, chain[1:])), x


def test_a_service_that_vanishes_leaves_and_a_new_one_appears():
    with shown() as page:
        s = shop(1)
        s["services"] = [x for x in s["services"] if x["id"] != "catalog"]
        s["stores"] = [x for x in s["stores"] if x["app"] != "catalog"]
        s["edges"] = [e for e in s["edges"] if "catalog" not in e["from"] + e["to"]]
        s["services"].append({"id": "newcomer", "rps": 0, "instances": []})
        page.feed.show(s)
        page.wait(f"!({node('catalog')}) && {node('newcomer')}")
        page.wait(f"{node('newcomer')}.getAttribute('transform')")


# ---- the reader's hands ----


def test_click_on_a_node_opens_its_details_and_the_hash_holds_it():
    with shown(still=True) as page:
        x, y = page.js(
            f"(() => {{ const r = {node('orders')}.querySelector('.shape').getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; }})()"
        )
        page.click(x, y)
        page.wait("!document.getElementById('detail').hidden")
        same(page.js("document.querySelector('#detail h2').textContent"), "orders", "details")
        same(page.js("location.hash"), "#sel=orders", "hash")
        s = still(page)
        same(
            page.js("document.querySelectorAll('#detail .part').length"),
            3,
            "instances in the details",
        )
        same(
            page.js("document.querySelectorAll('#detail .links li').length"),
            len([e for e in s["edges"] if "orders" in (e["from"], e["to"])]),
            "edges in the details",
        )
        page.key("Escape", 27)
        page.wait("document.getElementById('detail').hidden && location.hash === ''")


def test_choice_survives_a_reload():
    with shown(hash_="#sel=orders&app=orders&level=error&find=redis") as page:
        page.wait("document.querySelector('#detail h2').textContent === 'orders'")
        same(
            page.js(
                "[document.getElementById('filter-app').value, document.getElementById('filter-level').value,"
                " document.getElementById('filter-find').value]"
            ),
            ["orders", "error", "redis"],
            "filters",
        )
        same(page.js("document.querySelectorAll('#event-list li').length"), 1, "events")


def test_event_filters_by_app_level_and_text():
    with shown() as page:
        count = "document.querySelectorAll('#event-list li').length"
        same(page.js(count), 6, "events")
        choose = "(() => {{ const s = document.getElementById('{}'); s.value = '{}'; s.dispatchEvent(new Event('{}')); }})()"
        page.js(choose.format("filter-level", "warn", "change"))
        page.wait(f"{count} === 2")
        page.js(choose.format("filter-app", "mailer", "change"))
        page.wait(f"{count} === 1")
        page.js(choose.format("filter-find", "no such text", "input"))
        page.wait(
            "document.querySelector('#event-list li').textContent === 'No event matches the filter.'"
        )
        same(page.js("location.hash"), "#app=mailer&level=warn&find=no+such+text", "hash")


def test_edge_has_details_of_its_own():
    with shown(hash_="#sel=" + "invoke%20orders%20%E2%86%92%20payment") as page:
        page.wait("document.querySelector('#detail h2').textContent === 'orders → payment'")
        facts = page.js(
            "[...document.querySelectorAll('#detail dl.facts dt')].map(t => t.textContent)"
        )
        same(facts, ["calls", "errors", "p50", "p99", "in all"], "facts")


def test_keyboard_reaches_the_graph_and_walks_it():
    with shown(still=True) as page:
        focused = "document.activeElement?.dataset?.id || document.activeElement?.id || document.activeElement?.className || ''"
        page.key("Tab", 9)
        same(page.js(focused), "skip", "first stop")
        page.key("Tab", 9)
        assert page.js("document.activeElement.classList.contains('node')"), page.js(focused)
        page.js(f"{node('storefront')}.focus()")
        page.key("ArrowRight", 39)
        assert page.js(focused) in ("orders", "catalog"), page.js(focused)
        here = page.js(focused)
        page.key("Enter", 13, "\r")
        page.wait(f"document.querySelector('#detail h2').textContent === {json.dumps(here)}")
        assert page.js(f"{node(here)}.getAttribute('aria-pressed')") == "true"
        same(
            page.js("document.querySelectorAll('.node[tabindex=\"0\"]').length"),
            1,
            "tab stops in the graph",
        )


def test_focus_is_visible():
    with shown(still=True) as page:
        page.key("Tab", 9)
        page.key("Tab", 9)
        width = page.js(
            "parseFloat(getComputedStyle(document.activeElement.querySelector('.shape')).strokeWidth)"
        )
        assert width >= 2.5, width


def test_everything_has_a_name():
    with shown("spike") as page:
        nameless = page.js(
            """[...document.querySelectorAll('button, select, input, [role=button], [role=img], svg, section, aside')]
            .filter(e => !e.closest('[hidden]') && !(e.getAttribute('aria-label') || e.getAttribute('aria-labelledby')
              || e.closest('label')?.textContent.trim() || e.textContent.trim())).map(e => e.outerHTML.slice(0, 80))"""
        )
        same(nameless, [], "elements without a name")
        dup = page.js(
            "(() => { const ids = [...document.querySelectorAll('[id]')].map(e => e.id); return ids.filter((v, i) => ids.indexOf(v) !== i); })()"
        )
        same(dup, [], "ids given twice")
        same(
            page.js(f"{node('orders')}.getAttribute('aria-label').startsWith('service orders, ')"),
            True,
            "node's name",
        )


CONTRAST = """(() => { const c = (n) => getComputedStyle(document.documentElement).getPropertyValue(n).trim();
  const l = (h) => { const v = h.length === 4 ? [...h.slice(1)].map(x => x + x) : h.slice(1).match(/../g);
    const [r, g, b] = v.map(x => parseInt(x, 16) / 255).map(x => x <= .04045 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b; };
  const out = []; for (const back of ['--bg', '--card', '--raised']) for (const ink of ['--ink', '--soft', '--ok', '--warn', '--bad', '--call', '--message', '--state']) {
    const [a, b] = [l(c(ink)), l(c(back))].sort((x, y) => y - x); const ratio = (a + .05) / (b + .05);
    if (ratio < 4.5) out.push(ink + ' on ' + back + ': ' + ratio.toFixed(2)); } return out; })()"""


def test_contrast_is_enough_in_both_schemes():
    for scheme in ("dark", "light"):
        with shown(scheme=scheme) as page:
            same(page.js(CONTRAST), [], f"contrast below 4.5 ({scheme})")


def test_schemes_differ():
    with shown(scheme="dark") as page:
        dark = page.js("getComputedStyle(document.documentElement).backgroundColor")
        page.look(scheme="light")
        page.wait(
            f"getComputedStyle(document.documentElement).backgroundColor !== {json.dumps(dark)}"
        )


def test_comets_fly_only_if_motion_is_welcome():
    with shown() as page:
        page.wait("window.proa.comets() > 5")
        page.look(still=True)
        page.wait("window.proa.comets() === 0")
        same(
            page.js("document.getAnimations().filter(a => a.playState === 'running').length"),
            0,
            "running animations",
        )


def test_no_horizontal_scroll():
    for width, height in [
        (320, 640),
        (390, 844),
        (768, 1024),
        (1280, 720),
        (1920, 1080),
        (3840, 2160),
    ]:
        for scenario in ("normal", "many", "spike"):
            with shown(
                scenario, "#sel=orders", width=width, height=height, still=True, mobile=width < 500
            ) as page:
                wide = page.js(
                    "Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)"
                )
                assert wide <= width, f"{scenario} at {width}: the page is {wide} wide"


def test_page_loads_nothing_from_elsewhere():
    with shown() as page:
        urls = page.js("performance.getEntriesByType('resource').map(e => e.name)")
        assert urls and all(u.startswith(page.feed.url) for u in urls), urls


def test_page_without_a_feed_says_how_to_start_one():
    feed = Feed("empty", period=0.2)
    feed.mute = True
    page = BROWSER.page()
    try:
        page.open(feed.url)
        page.wait(
            "!document.getElementById('banner').hidden && document.getElementById('banner-more').textContent.includes('proa run')"
        )
    finally:
        page.close()
        feed.down()


# ---- a running page ----


def live_page_shows_its_feed(url):
    page = BROWSER.page(still=True)
    page.open(url)
    page.wait(READY, 30)
    feed = json.load(urllib.request.urlopen(url.rstrip("/") + "/feed.json", timeout=10))
    for id_ in [s["id"] for s in feed["services"]]:
        page.wait(node(id_))
    same(page.js("document.getElementById('run-name').textContent"), feed["run"]["name"], "run")
    same(page.js("document.getElementById('line-text').textContent"), "live", "connection")
    same(overlaps(page), [], "overlaps")
    same(page.errors, [], "console")
    page.look(width=390, height=844, mobile=True, still=True)
    page.wait("document.documentElement.scrollWidth <= 390")
    page.close()


def live_feed_keeps_coming(url):
    page = BROWSER.page()
    page.open(url)
    page.wait(READY, 30)
    first = page.js("document.body.dataset.time")
    page.wait(f"document.body.dataset.time !== {json.dumps(first)}")
    page.key("Tab", 9)
    same(page.errors, [], "console")
    page.close()


def run(tests):
    failed = 0
    for name, test in tests:
        began = time.monotonic()
        try:
            test()
            print(f"ok   {name} ({time.monotonic() - began:.1f} s)", flush=True)
        except Exception:  # each test's own story, then the next one
            failed += 1
            print(f"FAIL {name}\n{traceback.format_exc()}", flush=True)
    return failed


def main():
    global BROWSER
    url = os.environ.get("PROA_DASHBOARD_URL")
    kind = "live_" if url else "test_"
    tests = [(n, f) for n, f in globals().items() if n.startswith(kind) and callable(f)]
    if url:
        tests = [(n, lambda f=f: f(url)) for n, f in tests]
    tests = [t for t in tests if len(sys.argv) == 1 or any(a in t[0] for a in sys.argv[1:])]
    if not tests:
        sys.exit("dashboard: FAILED: no test has such a name")
    with Browser() as BROWSER:
        failed = run(tests)
    print(
        f"dashboard: {'FAILED' if failed else 'passed'}: {len(tests) - failed} of {len(tests)} tests"
    )
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
