"""The load of the demo with zones: customers of four priorities come in through the gateway of a
zone; who is turned away and isn't important goes home."""
import asyncio
import json
import math
import time
from collections import Counter

from load import CALL_S, INSIST_S, Answer, Load, Pool

SPIKE_TIMES = 10
IN_FLIGHT = 1000
# Phase → its share of the time.
PHASES = {"normal": 0.15, "spike": 0.15, "calm": 0.2, "lost": 0.2, "back": 0.3}
# Priority → its share of the orders; the highest first. The first two insist when they are turned
# away, the others don't come back.
PRIORITIES = {"critical": 0.05, "high": 0.15, "normal": 0.5, "low": 0.3}
INSISTENT = ("critical", "high")
READS = 5        # one read for so many orders
AWAY_S = 1.0     # a gateway that didn't answer isn't tried for so long


def boundaries(seconds):
    """[(when it begins, phase)]"""
    at, found = 0.0, []
    for phase, share in PHASES.items():
        found.append((at, phase))
        at += share * seconds
    return found


class Tally:
    """What one phase was like."""

    def __init__(self):
        self.begin, self.end = math.inf, 0.0
        self.offered, self.accepted, self.shed = Counter(), Counter(), Counter()
        self.failures = Counter()  # of calls that were made again, by what came instead of an answer
        self.reads = self.reads_failed = 0
        self.latency = []

    def seconds(self):
        return max(0.0, self.end - self.begin)

    def quantile_ms(self, q):
        values = sorted(self.latency)
        return 1000 * values[min(len(values) - 1, int(q * len(values)))] if values else 0.0


class Entrances:
    """A gateway in each zone. As a load balancer does it: in turn, without those that don't answer."""

    def __init__(self, ports):
        self.pools = {zone: Pool(port) for zone, port in ports.items()}
        self.away = dict.fromkeys(self.pools, 0.0)
        self.turn = 0

    def choose(self):
        now, zones = time.monotonic(), list(self.pools)
        self.turn += 1
        there = [z for z in zones if self.away[z] <= now] or zones
        return there[self.turn % len(there)]

    async def call(self, verb, path, headers, body):
        zone = self.choose()
        try:
            return await self.pools[zone].call(verb, path, headers, body)
        except (Answer, OSError):
            self.away[zone] = time.monotonic() + AWAY_S
            raise

    def close(self):
        for pool in self.pools.values():
            pool.close()


class SpikeLoad(Load):
    def __init__(self, entrances, seconds, rate, seed=1):
        super().__init__(entrances, seconds, rate, seed, IN_FLIGHT)
        self.begins = boundaries(seconds)
        self.tally = {phase: Tally() for phase in PHASES}

    def phase_at(self, t):
        return [phase for begin, phase in self.begins if begin <= t][-1]

    def rate_at(self, t):
        return self.rate * (SPIKE_TIMES if self.phase_at(t) == "spike" else min(1, t / 2 + 0.2))

    async def post(self, key, body, priority="normal"):
        headers = {"Content-Type": "application/json", "Idempotency-Key": key, "proa-priority": priority}
        return await self.send("POST", "orders", headers, body)

    async def send(self, verb, method, headers, body=b""):
        begin = time.monotonic()
        self.calls += 1
        self.per_second[-1] += 1
        path = "/v1.0/invoke/storefront/method/" + method
        status, answer = await asyncio.wait_for(self.pool.call(verb, path, headers, body), CALL_S)
        return status, answer, time.monotonic() - begin

    async def insist(self, key, body, priority="critical", tally=None):
        """As the plain load's, but who is turned away and isn't important gives up."""
        end, pause, first = time.monotonic() + INSIST_S, 0.1, True
        while time.monotonic() < end:
            shed, why = False, "no answer"
            try:
                status, answer, took = await self.post(key, body, priority)
                if status in (202, 400, 409):
                    return status, answer, took
                shed, why = b"ERR_OVERLOADED" in answer, f"{status} {answer[:80].decode(errors='replace')}"
            except asyncio.TimeoutError:
                why = f"no answer in {CALL_S} s"
            except (Answer, OSError):
                pass
            if tally and shed:
                tally.shed[priority] += first
                if first and priority not in INSISTENT:
                    return 503, answer, 0
            elif tally:
                tally.failures[why] += 1
            first = first and not shed
            self.repeated += 1
            await asyncio.sleep(pause * self.random.uniform(0.5, 1))
            pause = min(pause * 2, 2)
        return None, b"", 0

    async def place(self, number, tally):
        key, body = f"key-{number}", json.dumps(self.next_order()).encode()
        priority = self.random.choices(list(PRIORITIES), PRIORITIES.values())[0]
        tally.offered[priority] += 1
        status, answer, took = await self.insist(key, body, priority, tally)
        if status == 202:
            self.accepted[key] = json.loads(answer)["order"]
            self.latency.append(took)
            tally.accepted[priority] += 1
            tally.latency.append(took)
        elif status is None:
            self.unanswered += 1
        elif status != 503:
            self.wrong.append(f"{key} {body!r}: {status} {answer[:100]!r}")

    async def read(self, tally):
        """A read that a gateway has taken must be answered; a gateway that is gone isn't one."""
        try:
            status, answer, _ = await self.send("GET", "catalogue", {"proa-priority": "high"})
        except (Answer, OSError):
            return
        except asyncio.TimeoutError:
            status, answer = 0, b""
        tally.reads += 1
        tally.reads_failed += status != 200 and b"ERR_OVERLOADED" not in answer

    def one(self, number):
        """Counts for the phase in which it was to come."""
        tally = self.tally[self.phase_at(self.due)]
        tally.begin, tally.end = min(tally.begin, self.due), self.due
        return self.do(number, tally)

    async def do(self, number, tally):
        async with self.gate:
            if number % 67 == 66:
                await self.nonsense(number)
            elif number % READS == 0:
                await asyncio.gather(self.read(tally), self.place(number, tally))
            else:
                await self.place(number, tally)
