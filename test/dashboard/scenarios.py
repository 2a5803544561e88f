"""Systems to show: each scenario is a function of the seconds since it began → one feed snapshot.

The figures move as those of a real run do (a slow wave and a little noise), and they are the same
at each run: the noise is a hash of name and second, no random numbers.
"""

import hashlib
import math
from datetime import datetime, timedelta, timezone


def noise(name, second):
    """A number in 0..1 that depends on its arguments alone."""
    return hashlib.sha256(f"{name} {second}".encode()).digest()[0] / 255


def wave(name, t, base, swing=0.12):
    slow = math.sin(t / 17 + len(name))
    return base * (1 + swing * (0.6 * slow + 0.8 * (noise(name, int(t)) - 0.5)))


def rounded(value):
    return round(value, 3)


def instance(name, port, t, state="healthy", restarts=0, cpu=0.05, rss=38, zone="", since=0):
    return {
        "name": name,
        "pid": 4100 + port % 1000 + restarts,
        "app_port": port,
        "http_port": port + 1000,
        "state": state,
        "restarts": restarts,
        "cpu": 0 if state == "stopped" else rounded(wave(name, t, cpu, 0.5)),
        "rss_bytes": 0 if state == "stopped" else int(wave(name + "m", t, rss, 0.05) * 1048576),
        "uptime_s": rounded(max(0, t - since)),
        "zone": zone,
    }


def edge(source, target, kind, rps, p50=None, p99=None, error_rate=0.0, total=0):
    return {
        "from": source,
        "to": target,
        "kind": kind,
        "rps": rounded(rps),
        "p50_ms": None if p50 is None else rounded(p50),
        "p99_ms": None if p99 is None else rounded(p99),
        "error_rate": rounded(error_rate),
        "total": int(total),
    }


def event(number, t, level, app, text):
    return {"id": number, "time": stamp(t), "level": level, "app": app, "text": text}


START = datetime.now(timezone.utc)


def stamp(t):
    return (START + timedelta(seconds=t)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


PLACED, SHIPPED = "topic:bus/orders.placed", "topic:bus/orders.shipped"

# from, to, kind, rps, p50, p99
SHOP = [
    ("client", "storefront", "invoke", 212, 6.1, 21),
    ("storefront", "orders", "invoke", 96, 4.2, 14),
    ("storefront", "catalog", "invoke", 318, 0.8, 3.4),
    ("catalog", "store:products@catalog", "state", 74, 0.3, 1.1),
    ("orders", "payment", "invoke", 95, 2.4, 9.7),
    ("orders", "store:state@orders", "state", 190, 0.4, 1.9),
    ("orders", PLACED, "publish", 95, 0.9, 3.1),
    (PLACED, "shipping", "deliver", 94, 3.3, 12),
    (PLACED, "mailer", "deliver", 95, 1.2, 5.2),
    ("shipping", "store:parcels@shipping", "state", 94, 0.4, 1.6),
    ("shipping", SHIPPED, "publish", 93, 0.8, 2.9),
    (SHIPPED, "orders", "deliver", 93, 1.6, 6.6),
    ("mailer", "binding:smtp", "binding", 95, 11, 38),
]


def shop(t, slow=1.0, broken=(), depth=2, load=1.0, events=(), instances=None, shed=0.0):
    """The orders system. slow multiplies payment's latency; broken maps (from, to) to an error share."""
    broken = dict(broken)
    slowed = {
        ("orders", "payment"): slow,
        ("storefront", "orders"): 1 + (slow - 1) * 0.6,
        ("client", "storefront"): 1 + (slow - 1) * 0.4,
    }
    edges = []
    for source, target, kind, rps, p50, p99 in SHOP:
        factor = slowed.get((source, target), 1.0)
        edges.append(
            edge(
                source,
                target,
                kind,
                wave(source + target, t, rps * load),
                wave(target, t, p50 * factor),
                wave(target + "9", t, p99 * factor, 0.3),
                broken.get((source, target), 0.0),
                rps * load * (t + 40),
            )
        )
    rps = {e["to"]: e["rps"] for e in edges}
    errors = {e["to"]: e["error_rate"] for e in edges if e["error_rate"]}
    rows = instances or {}
    services = []
    for i, (name, n) in enumerate(
        [
            ("storefront", 2),
            ("orders", 3),
            ("catalog", 2),
            ("payment", 1),
            ("shipping", 2),
            ("mailer", 1),
        ]
    ):
        services.append(
            {
                "id": name,
                "rps": rps.get(name, 0),
                "error_rate": errors.get(name, 0),
                "instances": rows.get(name)
                or [
                    instance(
                        f"{name}-{k + 1}",
                        3001 + i * 10 + k,
                        t + 40,
                        zone="abc"[k],
                        cpu=0.04 + 0.03 * i * load,
                    )
                    for k in range(n)
                ],
            }
        )
    outer = edges[0]
    return snapshot(
        t,
        services,
        edges,
        totals={
            "rps": outer["rps"],
            "p50_ms": outer["p50_ms"],
            "p99_ms": outer["p99_ms"],
            "error_rate": max(outer["error_rate"], shed),
            "in_flight": int(wave("f", t, 9 * load * slow)),
            "queued": int(depth * 1.3),
        },
        topics=[
            topic(
                "orders.placed",
                t,
                rps[PLACED],
                [("shipping", depth, depth / 60, 0), ("mailer", 1, 0.01, 3)],
            ),
            topic("orders.shipped", t, rps[SHIPPED], [("orders", 1, 0.02, 0)]),
        ],
        stores=[
            store(name, app, rps[f"store:{name}@{app}"], edges)
            for name, app in [("products", "catalog"), ("state", "orders"), ("parcels", "shipping")]
        ],
        resources=RESOURCES,
        events=list(CALM_EVENTS) + list(events),
    )


def topic(name, t, rps, consumers):
    return {
        "id": f"topic:bus/{name}",
        "pubsub": "bus",
        "topic": name,
        "consumers": [
            {"app": a, "depth": int(d), "oldest_s": rounded(o), "dead": x}
            for a, d, o, x in consumers
        ],
        "publish_rps": rps,
        "deliver_rps": rounded(rps * len(consumers) * 0.99),
    }


def store(name, app, rps, edges):
    node = f"store:{name}@{app}"
    e = next(e for e in edges if e["to"] == node)
    return {
        "id": node,
        "name": name,
        "app": app,
        "type": "state.sqlite",
        "rps": rps,
        "p99_ms": e["p99_ms"],
        "error_rate": e["error_rate"],
    }


RESOURCES = [
    {
        "kind": "Component",
        "name": "bus",
        "type": "pubsub.sqlite/v1",
        "apps": ["orders", "shipping", "mailer"],
        "status": "loaded",
        "file": "components/bus.yaml:1",
        "error": "",
    },
    {
        "kind": "Component",
        "name": "state",
        "type": "state.sqlite/v1",
        "apps": ["orders"],
        "status": "loaded",
        "file": "components/state.yaml:1",
        "error": "",
    },
    {
        "kind": "Component",
        "name": "smtp",
        "type": "bindings.smtp/v1",
        "apps": ["mailer"],
        "status": "loaded",
        "file": "components/smtp.yaml:1",
        "error": "",
    },
    {
        "kind": "Cache",
        "name": "catalog-pages",
        "type": "proa.dev/v1alpha1",
        "apps": ["storefront"],
        "status": "loaded",
        "file": "components/cache.yaml:1",
        "error": "",
    },
    {
        "kind": "Component",
        "name": "archive",
        "type": "state.redis/v1",
        "apps": ["orders"],
        "status": "failed",
        "file": "components/archive.yaml:9",
        "error": "metadata key 'redisHots' is unknown: did you mean 'redisHost'?",
    },
]
CALM_EVENTS = [
    event(1, -40, "info", "", "loaded 4 of 5 resources"),
    event(
        2,
        -39,
        "error",
        "orders",
        "component archive: metadata key 'redisHots' is unknown: did you mean "
        "'redisHost'? (components/archive.yaml:9:7)",
    ),
    event(3, -38, "info", "storefront", "storefront-1 is healthy on port 3001"),
    event(4, -38, "info", "orders", "orders-1 is healthy on port 3011"),
    event(5, -37, "info", "shipping", "subscribed to bus/orders.placed, route /placed"),
    event(
        6, -21, "warn", "mailer", "bus/orders.placed: 3 messages went to dead letters after 5 tries"
    ),
]


def snapshot(
    t, services, edges, totals, topics=(), stores=(), resources=(), events=(), name="orders"
):
    return {
        "time": stamp(t),
        "uptime_s": rounded(t + 42),
        "run": {"name": name, "version": "0.1.0"},
        "totals": totals,
        "services": services,
        "edges": edges,
        "topics": list(topics),
        "stores": list(stores),
        "resources": list(resources),
        "events": list(events),
    }


def normal(t):
    out = shop(t)
    out["progress"] = {"text": f"load {int(t) % 61} s of 60 s", "done": int(t) % 61, "total": 60}
    return out


def killed(t):
    """payment dies at once and is back after 8 s."""
    down = t < 8
    state = "stopped" if t < 4 else "restarting" if down else "healthy"
    row = [instance("payment-1", 3031, t, state=state, restarts=0 if t < 4 else 1, since=8)]
    broken = {
        ("orders", "payment"): 0.97,
        ("storefront", "orders"): 0.31,
        ("client", "storefront"): 0.14,
    }
    events = [
        event(
            20,
            0,
            "error",
            "payment",
            "payment-1 (pid 4131) ended by signal 9: starting it again in 4 s",
        ),
        event(
            21,
            1,
            "error",
            "orders",
            "invoke payment/charge: connection refused: 5 of 5 tries failed",
        ),
        event(22, 2, "warn", "orders", "circuit breaker payment: closed → open"),
    ]
    if not down:
        events.append(event(23, 8, "info", "payment", "payment-1 is healthy on port 3031"))
    return shop(
        t,
        broken=broken if down else {},
        depth=18 if down else 2,
        events=events,
        instances={"payment": row},
    )


def slow(t):
    return shop(
        t,
        slow=38,
        broken={("orders", "payment"): 0.021},
        depth=4,
        events=[
            event(30, 0, "warn", "payment", "p99 of orders → payment is 370 ms, 38 times its usual")
        ],
    )


def overload(t):
    return shop(
        t,
        load=14,
        slow=6,
        shed=0.08,
        broken={("client", "storefront"): 0.08, (PLACED, "shipping"): 0.01},
        depth=400 + t * 60,
        events=[event(40, 0, "warn", "storefront", "overload: shedding priority 'batch'")],
    )


PRIORITIES = ("critical", "high", "normal", "low", "background")
REASONS = ("limit", "queue", "deadline", "priority", "rate")


def overload_of(app, t, limit, inflight, queued, admitted, shed=(), reasons=()):
    """What the page is told of one app's overload control; shed and reasons map names to rates."""
    shed, reasons = dict(shed), dict(reasons)
    return {
        "app": app,
        "limit": limit,
        "inflight": int(min(limit, wave(app + "i", t, inflight))),
        "queued": int(wave(app + "q", t, queued, 0.4)),
        "load": rounded(min(1, inflight / limit)),
        "admitted_rps": rounded(wave(app + "a", t, admitted, 0.05)),
        "shed_rps": rounded(sum(shed.values())),
        "shed": {p: rounded(shed.get(p, 0)) for p in PRIORITIES},
        "reasons": {r: rounded(reasons.get(r, 0)) for r in REASONS},
    }


def peer(app, k, t, state="ok", agree=None, latency=3.0, rps=30.0, error_rate=0.0):
    return {
        "app": app,
        "address": f"127.0.0.1:{5000 + k}",
        "name": f"{app}-{k + 1}",
        "zone": "abc"[k % 3],
        "state": state,
        "callers": 3,
        "agree": 3 if agree is None else agree,
        "inflight": 2,
        "latency_ms": rounded(wave(f"{app}{k}", t, latency)),
        "rps": rounded(0 if state == "ejected" else wave(f"{app}{k}r", t, rps)),
        "error_rate": error_rate,
    }


def spike(t):
    """Ten times the load: orders scale out, what matters least is shed, payment-2 fails, zone c is lost."""
    grown = min(8, 3 + int(t / 3))
    orders = [
        instance(
            f"orders-{k + 1}",
            3011 + k,
            t + 40,
            state="starting" if k >= 3 and t < 3 * (k - 2) + 1.5 else "healthy",
            zone="abc"[k % 3],
            cpu=0.5,
        )
        for k in range(grown)
    ]
    payment = [instance(f"payment-{k + 1}", 3051 + k, t + 40, zone="abc"[k]) for k in range(3)]
    out = shop(
        t,
        load=8,
        slow=3,
        depth=120,
        broken={("client", "storefront"): 0.02},
        events=[
            event(50, 0, "warn", "orders", "overload: shedding priority 'background'"),
            event(51, 1, "warn", "orders", "circuit breaker payment-2: closed → open"),
        ],
        instances={"orders": orders, "payment": payment},
    )
    ease = grown / 8
    out["overload"] = [
        overload_of(
            "storefront",
            t,
            96,
            88,
            14,
            1180,
            {"background": 310, "low": 122, "normal": 4},
            {"priority": 402, "queue": 34},
        ),
        overload_of(
            "orders",
            t,
            40 * grown // 3,
            38 * grown // 3,
            20 / ease,
            760 * ease,
            {"background": 96 / ease, "low": 21 / ease},
            {"priority": 96 / ease, "limit": 14 / ease, "deadline": 7 / ease},
        ),
        overload_of("catalog", t, 120, 31, 0, 2510),
        overload_of("payment", t, 60, 22, 0, 755),
        overload_of("shipping", t, 32, 12, 3, 190),
        overload_of("mailer", t, 16, 3, 0, 92),
    ]
    out["peers"] = (
        [peer("orders", k, t, "ok" if k < 3 else "slow-start") for k in range(grown)]
        + [peer("payment", k, t, "ejected" if k == 1 else "ok", 2 if k == 1 else 3) for k in range(3)]
        + [peer("catalog", k, t) for k in range(2)]
    )
    out["scale"] = [
        {
            "app": "orders",
            "instances": grown,
            "desired": 8,
            "min": 3,
            "max": 12,
            "metric": "concurrency",
            "value": rounded(wave("c", t, 24)),
            "target": 10,
            "reason": "panic window: twice what the instances can take",
        }
    ]
    out["breakers"] = [
        {
            "target": "payment@127.0.0.1:5001",
            "name": "payment-2",
            "state": "open",
            "agree": 2,
            "apps": ["orders", "storefront"],
        },
        {"target": "smtp", "name": "", "state": "half-open", "agree": 1, "apps": ["mailer"]},
        {"target": "catalog", "name": "", "state": "closed", "agree": 2, "apps": ["storefront"]},
    ]
    rows = {"a": (402, 3, 2), "b": (4, 388, 5), "c": (2, 4, 371)}
    out["zones"] = {
        "pairs": [
            {"from": a, "to": b, "rps": rounded(wave(a + b, t, rows[a]["abc".index(b)]))}
            for a in "abc"
            for b in "abc"
        ],
        "crossing": 0.017,
    }
    out["chaos"] = [
        {
            "name": "slow-cards",
            "fault": "delay",
            "app": "payment",
            "method": "POST /charge",
            "zone": "b",
            "status": "",
            "percent": 25,
            "delay_ms": 200,
            "delay_max_ms": 600,
            "left_s": max(0, rounded(60 - t)),
            "injected": int(40 * t),
            "sidecars": 5,
            "apps": ["orders", "storefront"],
        }
    ]
    return out


def many(t, n=50):
    """n services in five tiers, with topics and stores between."""
    tiers = [3, 9, 14, 14, 10]
    names = [
        [f"{word}-{i + 1:02d}" for i in range(size)]
        for word, size in zip(["gateway", "edge", "domain", "platform", "worker"], tiers)
    ]
    edges = [edge("client", g, "invoke", wave(g, t, 400), 8, 30) for g in names[0]]
    for upper, lower in zip(names, names[1:]):
        for i, target in enumerate(lower):
            for source in {upper[i % len(upper)], upper[(i * 7 + 3) % len(upper)]}:
                bad = 0.11 if (source, target) == (names[1][2], names[2][2]) else 0
                edges.append(
                    edge(
                        source,
                        target,
                        "invoke",
                        wave(source + target, t, 20 + 9 * i),
                        2 + i,
                        9 + 4 * i,
                        bad,
                    )
                )
    topics, stores = [], []
    for i in range(4):
        source, target = names[2][i * 3], names[4][i * 2]
        node = f"topic:bus/stream.{i + 1}"
        edges += [
            edge(source, node, "publish", wave(node, t, 50), 1, 3),
            edge(node, target, "deliver", wave(node, t, 50), 2, 6),
        ]
        topics.append(topic(f"stream.{i + 1}", t, 50, [(target, i * 9, i * 0.4, 0)]))
    for i in range(5):
        app = names[3][i * 2]
        edges.append(edge(app, f"store:state@{app}", "state", wave(app, t, 30), 0.4, 2))
        stores.append(
            {
                "id": f"store:state@{app}",
                "name": "state",
                "app": app,
                "type": "state.sqlite",
                "rps": 30,
                "p99_ms": 2,
                "error_rate": 0,
            }
        )
    services = [
        {
            "id": name,
            "rps": rounded(wave(name, t, 60)),
            "error_rate": 0,
            "instances": [instance(f"{name}-{k}", 4000 + 3 * j + k, t) for k in range(1 + j % 3)],
        }
        for j, name in enumerate(sum(names, []))
    ][:n]
    return snapshot(
        t,
        services,
        edges,
        {
            "rps": 1212.0,
            "p50_ms": 8.1,
            "p99_ms": 64.0,
            "error_rate": 0.004,
            "in_flight": 88,
            "queued": 54,
        },
        topics,
        stores,
        RESOURCES,
        CALM_EVENTS,
        "fleet",
    )


def empty(t):
    return {
        "time": stamp(t),
        "uptime_s": t,
        "run": {"name": "orders", "version": "0.1.0"},
        "totals": {},
        "services": [],
        "edges": [],
        "topics": [],
        "stores": [],
        "resources": [],
        "events": [],
    }


ATTACKS = [
    '<img src=x onerror="window.hacked=1">',
    "</script><script>window.hacked=2</script>",
    "__proto__",
    "constructor",
    "\u202eesrever\u202c",
    "a" * 5000,
    '"onload="window.hacked=3',
    "javascript:window.hacked=4",
    "$(id)`id`{{7*7}}",
    "line\nbreak\u0000nul",
    "#sel=x&app=y",
    "\ud83d\udea3 proa",
    "'; DROP TABLE orders; --",
    "topic:",
    "store:@",
]


def hostile(t):
    """Every string is an attack and every other field has the wrong type, or is missing."""
    services = [
        {
            "id": a,
            "rps": "12",
            "error_rate": -4,
            "instances": [
                {
                    "name": a,
                    "pid": {},
                    "app_port": a,
                    "http_port": None,
                    "state": a,
                    "restarts": [],
                    "cpu": 1e400 if False else "x",
                    "rss_bytes": None,
                    "uptime_s": -1,
                    "zone": a,
                }
            ],
        }
        for a in ATTACKS
    ]
    services += [None, 7, [], {"id": None}, {"id": ATTACKS[0]}]
    edges = [edge(a, b, "invoke", 3, 1, 2) for a, b in zip(ATTACKS, ATTACKS[1:])]
    edges += [
        {"from": ATTACKS[0], "to": ATTACKS[0], "kind": ATTACKS[1], "rps": 5},
        {"from": 1},
        None,
    ]
    return {
        "time": "not a time",
        "run": {"name": ATTACKS[0], "version": ATTACKS[1]},
        "totals": {"rps": "many", "p99_ms": None},
        "services": services,
        "edges": edges,
        "stores": {"not": "a list"},
        "topics": [
            {"id": "topic:" + a, "pubsub": a, "topic": a, "consumers": [{"app": a, "depth": a}]}
            for a in ATTACKS
        ],
        "resources": [
            {
                "kind": a,
                "name": a,
                "type": a,
                "apps": [a, None, 4],
                "status": a,
                "file": a,
                "error": a,
            }
            for a in ATTACKS
        ],
        "events": [
            {"id": i, "time": a, "level": a, "app": a, "text": a} for i, a in enumerate(ATTACKS)
        ]
        + ["x"],
        "progress": {"text": ATTACKS[0], "done": "x", "total": -1},
        "overload": [{"app": a, "limit": a, "shed": {a: a, "low": -4}, "reasons": a} for a in ATTACKS]
        + [None, {}],
        "peers": [
            {"app": a, "name": a, "address": a, "zone": a, "state": a, "latency_ms": "x"}
            for a in ATTACKS
        ],
        "breakers": [{"target": a, "name": a, "state": a, "apps": [a, None]} for a in ATTACKS],
        "zones": {
            "pairs": [{"from": a, "to": b, "rps": 3} for a, b in zip(ATTACKS, ATTACKS[1:])] + [7],
            "crossing": "x",
        },
        "scale": [{"app": a, "desired": a, "metric": a, "reason": a, "value": a} for a in ATTACKS],
        "chaos": [
            {"name": a, "fault": a, "app": a, "method": a, "zone": a, "status": a, "left_s": -3}
            for a in ATTACKS
        ],
    }


SCENARIOS = {f.__name__: f for f in (normal, killed, slow, overload, spike, many, empty, hostile)}
