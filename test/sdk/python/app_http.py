"""The app of the Python suite as an HTTP server: FastAPI and the SDK's extension for it."""
import os
from typing import Annotated

import uvicorn
from dapr.ext.fastapi import DaprApp
from fastapi import Body, FastAPI, Header, Request, Response

app = FastAPI()
dapr = DaprApp(app)
received = []
seen = set()


def note(pubsub, topic, route=None, answer=None):
    def handler(event: Annotated[dict, Body()]):
        data = event["data"] if "data" in event else event["data_base64"]
        received.append({"pubsub": pubsub, "topic": topic, "route": route, "data": data})
        return answer
    return handler


def at_second_try(pubsub):
    """Refuses each event once."""
    def handler(event: Annotated[dict, Body()]):
        received.append({"pubsub": pubsub, "topic": "again", "data": event["data"]})
        known = event["id"] in seen
        seen.add(event["id"])
        return {"status": "SUCCESS" if known else "RETRY"}
    return handler


def subscribe(pubsub):
    dapr.subscribe(pubsub, "plain")(note(pubsub, "plain"))
    dapr.subscribe(pubsub, "raw", metadata={"rawPayload": "true"})(note(pubsub, "raw"))
    dapr.subscribe(pubsub, "again", route=f"/again-{pubsub}")(at_second_try(pubsub))
    dapr.subscribe(pubsub, "doomed", dead_letter_topic="dead")(
        note(pubsub, "doomed", answer={"status": "DROP"}))
    dapr.subscribe(pubsub, "dead")(note(pubsub, "dead"))
    # The subscriptions of these are resources: the extension knows no rules.
    app.post(f"/declared-{pubsub}")(note(pubsub, "declared"))
    for route in ("important", "other"):
        app.post(f"/{route}-{pubsub}")(note(pubsub, "routed", route))


@app.get("/received")
def all_received():
    return received


@app.post("/echo")
async def echo(request: Request, content_type: Annotated[str, Header()]):
    return Response(await request.body(), media_type=content_type)


@app.get("/query")
def query(request: Request):
    return {"query": request.url.query}


@app.get("/headers")
def headers(request: Request):
    return dict(request.headers)


@app.get("/refuse")
def refuse():
    return Response("not yours", status_code=403, media_type="text/plain")


@app.post("/tick")
def tick():
    received.append({"topic": "tick"})


for name in os.environ["PUBSUBS"].split(","):
    subscribe(name)
uvicorn.run(app, host="127.0.0.1", port=int(os.environ["APP_PORT"]), log_level="warning")
