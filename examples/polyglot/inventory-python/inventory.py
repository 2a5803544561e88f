"""inventory in Python: what there is to sell, and how much of it.

FastAPI with the SDK's extension takes events and calls; the SDK's asyncio client keeps the data. Keys:
stock/<sku>, reservation/<order>, journal/<sku>/<n> (the stock after its n-th change).
"""
import asyncio
import json
import os
import random
import re
import sys
from collections import defaultdict
from contextlib import asynccontextmanager
from typing import Annotated

import uvicorn
from dapr.aio.clients import DaprClient
from dapr.clients.exceptions import DaprGrpcError
from dapr.clients.grpc._request import TransactionalStateOperation
from dapr.clients.grpc._state import Concurrency, StateOptions
from dapr.ext.fastapi import DaprApp
from fastapi import Body, FastAPI, HTTPException
from grpc import RpcError

BUS, STORE, DEAD_LETTERS = "bus", "store", "orders.dead"
TRIES = 30
NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
CATALOGUE = {  # name, price in cents, pieces on the first day
    "kettle": ("Kettle, 1.5 l", 3900, 100000),
    "teapot": ("Teapot, cast iron", 6400, 100000),
    "cup": ("Cup, porcelain", 1250, 200000),
    "strainer": ("Tea strainer", 480, 200000),
    "sencha": ("Sencha, 100 g", 1190, 100000),
    "assam": ("Assam, 250 g", 1450, 100000),
    "scale": ("Pocket scale, 0.1 g", 2999, 150),
    "samovar": ("Samovar, brass", 41900, 25),
}


class Refused(Exception):
    """It never can be done: to the dead letters."""


class Busy(Exception):
    """It can't be done now: the event must come again."""


# ---- reading and writing ----

async def read(key):
    """The value of a key, None when there is none, and its ETag."""
    state = await dapr.get_state(STORE, key)
    return (json.loads(state.data) if state.data else None), state.etag


def upsert(key, value, etag=None):
    return TransactionalStateOperation(key=key, data=json.dumps(value), etag=etag)


def moved(stock, to, quantity):
    """The stock after a change; None: there isn't enough."""
    stock = {**stock, "changes": stock["changes"] + 1}
    if to == "reserved":
        stock["reserved"] += quantity
    else:
        stock["reserved"] -= quantity
    if to == "shipped":
        stock["onHand"] -= quantity
        stock["shipped"] += quantity
    return stock if stock["reserved"] <= stock["onHand"] else None


async def try_change(order, to):
    """The reservation's state after this try, and whether it was there before. DaprGrpcError: another
    change was quicker."""
    sku, quantity = order["sku"], order["quantity"]
    # Whatever changes a reservation writes the stock too. So the stock's ETag, read first, covers both.
    stock, etag = await read(f"stock/{sku}")
    reservation, _ = await read(f"reservation/{order['order']}")
    before = reservation["state"] if reservation else None
    if before != (None if to == "reserved" else "reserved"):
        if before is None:
            raise Refused
        return before, True
    if not stock:
        raise Refused
    after = moved(stock, to, quantity)
    now = to if after else "rejected"
    writes = [upsert(f"reservation/{order['order']}", {"state": now, "sku": sku, "quantity": quantity}),
              upsert(f"stock/{sku}", after or stock, etag)]
    if after:
        entry = {**after, "order": order["order"], "what": now}
        writes.append(upsert(f"journal/{sku}/{after['changes']}", entry))
    await dapr.execute_state_transaction(STORE, writes)
    return now, False


async def change(order, to):
    """none → reserved or rejected; reserved → released or shipped: try_change() until one succeeds."""
    async with locks[order["sku"]]:  # spares most conflicts; the ETag is what makes it right
        for _ in range(TRIES):
            try:
                return await try_change(order, to)
            except DaprGrpcError as e:
                problem = e
                await asyncio.sleep(random.uniform(0, 0.03))
    raise Busy(problem)


async def emit(topic, order):
    """The event's id is made of topic and order, so that a repetition is recognised."""
    about = {"cloudevent.id": f"{order['order']}/{topic}", "partitionKey": order["order"]}
    await dapr.publish_event(BUS, topic, json.dumps(order), publish_metadata=about,
                             data_content_type="application/json")


# ---- the steps: each says whether its work was done before ----

async def reserve(order):
    now, again = await change(order, "reserved")
    await emit("inventory.rejected" if now == "rejected" else "inventory.reserved", order)
    return again


async def release(order):
    now, again = await change(order, "released")
    if now != "released":
        raise Refused
    await emit("inventory.released", order)
    return again


async def ship(order):
    now, again = await change(order, "shipped")
    if now != "shipped":
        raise Refused
    return again


# ---- the service ----

@asynccontextmanager
async def life(_app):
    """The first start fills the shelves; later ones find them filled."""
    global dapr
    first = StateOptions(concurrency=Concurrency.first_write)
    async with DaprClient() as dapr:
        for sku, (_, _, pieces) in CATALOGUE.items():
            if (await read(f"stock/{sku}"))[0] is None:
                stock = {"onHand": pieces, "reserved": 0, "shipped": 0, "changes": 0}
                await dapr.save_state(STORE, f"stock/{sku}", json.dumps(stock), options=first)
        yield


app = FastAPI(lifespan=life)
dapr_app = DaprApp(app)
dapr = None
locks = defaultdict(asyncio.Lock)  # one a SKU
stats = {"events": 0, "again": 0}


def order_of(event):
    """The order that an event holds; None: it holds none."""
    order = event.get("data")
    if not isinstance(order, dict):
        return None
    texts = [order.get(k) for k in ("order", "customer", "sku", "country")]
    if not all(isinstance(t, str) and NAME.fullmatch(t) for t in texts):
        return None
    quantity, total = order.get("quantity"), order.get("total")
    if type(quantity) is not int or type(total) is not int:
        return None
    return order if 1 <= quantity <= 100 and total >= 0 else None


def on(topic, step):
    @dapr_app.subscribe(pubsub=BUS, topic=topic, dead_letter_topic=DEAD_LETTERS)
    async def handle(event: Annotated[dict, Body()]):
        order = order_of(event)
        if not order:
            print(f"inventory: event {event.get('id')} of {topic} holds no order", file=sys.stderr)
            return {"status": "DROP"}
        status = "SUCCESS"
        try:
            stats["again"] += await step(order)
        except Refused:
            print(f"inventory: {topic} makes no sense for order {order['order']}", file=sys.stderr)
            status = "DROP"
        except (Busy, DaprGrpcError) as e:
            print(f"inventory: {topic} of order {order['order']} must come again: {e}", file=sys.stderr)
            status = "RETRY"
        stats["events"] += 1
        return {"status": status}


on("orders.placed", reserve)
on("payments.declined", release)
on("payments.refunded", release)
on("shipping.shipped", ship)


@app.get("/catalogue")
async def catalogue():
    items = []
    for sku, (name, price, _) in CATALOGUE.items():
        try:
            stock, _ = await read(f"stock/{sku}")
        except DaprGrpcError as e:
            raise HTTPException(503, "the stock can't be read: try again") from e
        items.append({"sku": sku, "name": name, "price": price,
                      "available": stock["onHand"] - stock["reserved"]})
    return {"items": items}


@app.get("/stats")
async def get_stats():
    return stats


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["APP_PORT"]), log_level="warning")
