"""The load: customers who order tea things, in spikes, and insist until they get an answer."""
import asyncio
import json
import random
import time

CALL_S = 5       # one call
INSIST_S = 40    # one order, with all its repetitions
IN_FLIGHT = 48   # calls at the same time
SPIKE_EVERY_S, SPIKE_AT_S, SPIKE_S, SPIKE_TIMES = 10, 6, 2, 4

CUSTOMERS = [f"customer-{i:03}" for i in range(200)]
COUNTRIES = ["DE"] * 30 + ["FR"] * 20 + ["JP"] * 20 + ["US"] * 20 + ["SE"] * 8 + ["AQ"] * 2
SKUS = ["cup"] * 24 + ["sencha"] * 20 + ["assam"] * 20 + ["strainer"] * 14 + ["kettle"] * 10 \
    + ["teapot"] * 8 + ["scale"] * 3 + ["samovar"] * 1
WRONG = [b"", b"[]", b"{", b'{"customer":"ada"}',
         b'{"customer":"ada","country":"DE","sku":"teapot","quantity":0}',
         b'{"customer":"ada","country":"Germany","sku":"teapot","quantity":1}',
         b'{"customer":"a b","country":"DE","sku":"teapot","quantity":1}',
         b'{"customer":"ada","country":"DE","sku":"unicorn","quantity":1}']


class Answer(Exception):
    """The connection broke off, or what came was no HTTP."""


class Pool:
    """Connections to one port that are kept for the next call."""

    def __init__(self, port):
        self.port = port
        self.idle = []

    def kept(self):
        """One that the other side hasn't closed: after a kill -9 all of them are dead."""
        while self.idle:
            reader, writer = self.idle.pop()
            if not reader.at_eof() and reader.exception() is None:
                return reader, writer
            writer.close()
        return None

    async def exchange(self, stream, request):
        reader, writer = stream
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        status = int(head[0].split(" ", 2)[1])
        fields = {name.lower(): value.strip()
                  for name, _, value in (line.partition(":") for line in head[1:] if line)}
        if fields.get("transfer-encoding", "").lower() == "chunked":
            body = await self.read_chunks(reader)
        elif "content-length" in fields:
            body = await reader.readexactly(int(fields["content-length"]))
        else:
            raise Answer("an answer without a length")
        return status, body, fields.get("connection", "").lower() != "close"

    @staticmethod
    async def read_chunks(reader):
        body = b""
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        while await reader.readuntil(b"\r\n") != b"\r\n":
            pass  # trailers
        return body

    async def call(self, verb, path, headers, body):
        lines = [f"{verb} {path} HTTP/1.1", f"Host: 127.0.0.1:{self.port}",
                 f"Content-Length: {len(body)}", *(f"{k}: {v}" for k, v in headers.items())]
        request = "\r\n".join(lines).encode() + b"\r\n\r\n" + body
        stream = self.kept() or await asyncio.open_connection("127.0.0.1", self.port)
        keep = False
        try:
            status, body, keep = await self.exchange(stream, request)
            return status, body
        except (OSError, EOFError, ValueError, IndexError, asyncio.LimitOverrunError) as e:
            raise Answer(str(e)) from e
        finally:
            if keep:
                self.idle.append(stream)
            else:
                stream[1].close()

    def close(self):
        for _, writer in self.idle:
            writer.close()
        self.idle = []


class Load:
    def __init__(self, pool, seconds, rate, seed=1, in_flight=IN_FLIGHT):
        self.pool = pool  # a Pool, or what calls like one
        self.seconds, self.rate = seconds, rate
        self.random = random.Random(seed)
        self.gate = asyncio.Semaphore(in_flight)
        self.sent = 0
        self.due = 0.0       # when the latest order was to come, since the start
        self.accepted = {}   # key → order id
        self.refused = 0     # orders that made no sense
        self.repeated = 0    # calls that had to be made again
        self.calls = 0
        self.latency = []    # seconds, of each call that was answered 202
        self.per_second = []
        self.wrong = []      # what must not happen, in words
        self.unanswered = 0

    def rate_at(self, t):
        spike = SPIKE_AT_S <= t % SPIKE_EVERY_S < SPIKE_AT_S + SPIKE_S
        ramp = min(1, t / 2 + 0.2)
        return self.rate * ramp * (SPIKE_TIMES if spike else 1)

    def next_order(self):
        choose = self.random.choice
        order = {"customer": choose(CUSTOMERS), "country": choose(COUNTRIES), "sku": choose(SKUS),
                 "quantity": self.random.randint(1, 5)}
        if self.random.random() < 0.02:
            order["quantity"] = 100  # more than a card is good for
        return order

    async def post(self, key, body):
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        path = "/v1.0/invoke/storefront/method/orders"
        begin = time.monotonic()
        self.calls += 1
        self.per_second[-1] += 1
        status, answer = await asyncio.wait_for(self.pool.call("POST", path, headers, body), CALL_S)
        return status, answer, time.monotonic() - begin

    async def insist(self, key, body):
        """Until there is an answer that means something. The key makes repeating safe."""
        end, pause = time.monotonic() + INSIST_S, 0.1
        while time.monotonic() < end:
            try:
                status, answer, took = await self.post(key, body)
                if status in (202, 400, 409):
                    return status, answer, took
            except (Answer, OSError, asyncio.TimeoutError):
                pass
            self.repeated += 1
            await asyncio.sleep(pause * self.random.uniform(0.5, 1))
            pause = min(pause * 2, 2)
        return None, b"", 0

    async def order(self, number):
        key, body = f"key-{number}", json.dumps(self.next_order()).encode()
        status, answer, took = await self.insist(key, body)
        if status == 202:
            order = json.loads(answer)["order"]
            self.latency.append(took)
            self.accepted[key] = order
            if number % 50 == 0:  # the answer got lost: the customer asks again
                status, answer, _ = await self.insist(key, body)
                if status != 202 or json.loads(answer)["order"] != order:
                    self.wrong.append(f"{key} again: {status} {answer[:100]!r} instead of {order}")
        elif status is None:
            self.unanswered += 1
        else:
            self.wrong.append(f"{key} {body!r}: {status} {answer[:100]!r}")

    async def nonsense(self, number):
        body = WRONG[number % len(WRONG)]
        status, answer, _ = await self.insist(f"wrong-{number}", body)
        if status == 400 and b'"error"' in answer:
            self.refused += 1
        elif status is not None:
            self.wrong.append(f"{body!r} was answered with {status} {answer[:100]!r}")

    async def one(self, number):
        async with self.gate:
            await (self.nonsense(number) if number % 67 == 66 else self.order(number))

    async def count_seconds(self):
        while True:
            self.per_second.append(0)
            await asyncio.sleep(1)

    async def run(self):
        begin, tasks = time.monotonic(), set()
        counter = asyncio.create_task(self.count_seconds())
        await asyncio.sleep(0)
        # By the plan, not by when the last one was made: what a busy machine is late with it makes up for.
        while self.due < self.seconds:
            self.due += self.random.expovariate(self.rate_at(self.due))
            await asyncio.sleep(max(0, self.due - (time.monotonic() - begin)))
            task = asyncio.create_task(self.one(self.sent))
            self.sent += 1
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        if tasks:
            await asyncio.wait(tasks)
        counter.cancel()
        self.pool.close()

    def quantile_ms(self, q):
        values = sorted(self.latency)
        return 1000 * values[min(len(values) - 1, int(q * len(values)))] if values else 0.0
