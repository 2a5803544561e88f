"""The app of the Python suite as a gRPC server: the SDK's own."""
import json
import os

from dapr.clients.grpc._response import InvokeMethodResponse, TopicEventResponse
from dapr.ext.grpc import App, Rule

app = App()
received = []
seen = set()


def data_of(event):
    text = event.Data().decode()
    return json.loads(text) if event.ContentType().startswith("application/json") else text


def note(pubsub, topic, route=None, answer=None):
    def handler(event):
        received.append({"pubsub": pubsub, "topic": topic, "route": route, "data": data_of(event)})
        return answer and TopicEventResponse(answer)
    handler.__name__ = route or "handler"  # the extension takes a rule's path from here
    return handler


def at_second_try(pubsub):
    """Refuses each event once."""
    def handler(event):
        received.append({"pubsub": pubsub, "topic": "again", "data": data_of(event)})
        known = event.EventID() in seen
        seen.add(event.EventID())
        return TopicEventResponse("success" if known else "retry")
    return handler


def subscribe(pubsub):
    app.subscribe(pubsub, "plain")(note(pubsub, "plain"))
    app.subscribe(pubsub, "raw", metadata={"rawPayload": "true"})(note(pubsub, "raw"))
    app.subscribe(pubsub, "again")(at_second_try(pubsub))
    app.subscribe(pubsub, "doomed", dead_letter_topic="dead")(note(pubsub, "doomed", answer="drop"))
    app.subscribe(pubsub, "dead")(note(pubsub, "dead"))
    app.subscribe(pubsub, "routed", rule=Rule('event.type == "important"', 1))(
        note(pubsub, "routed", "important"))
    app.subscribe(pubsub, "routed", rule=Rule("true", 2))(note(pubsub, "routed", "other"))


@app.method("received")
def all_received(request):
    return json.dumps(received)


@app.method("echo")
def echo(request):
    return InvokeMethodResponse(request.data, request.content_type)


@app.method("headers")
def headers(request):
    return json.dumps({k: v[0] for k, v in request.metadata.items() if isinstance(v[0], str)})


@app.method("refuse")
def refuse(request):
    raise PermissionError("not yours")


@app.binding("tick")
def tick(request):
    received.append({"topic": "tick"})


for name in os.environ["PUBSUBS"].split(","):
    subscribe(name)
app.run(int(os.environ["APP_PORT"]), "127.0.0.1")
