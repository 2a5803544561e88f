// The app of the JavaScript suite: APP_PROTOCOL says which of the SDK's two servers it uses.
// What it is asked to do is the same in each language: docs/sdk.md.
const { CommunicationProtocolEnum, DaprPubSubStatusEnum, DaprServer, HttpMethod } = require("@dapr/dapr");
const { Code, ConnectError } = require("@connectrpc/connect");
const express = require("express");

const overGrpc = process.env.APP_PROTOCOL === "grpc";
const http = express();
const server = new DaprServer({
  serverHost: "127.0.0.1",
  serverPort: process.env.APP_PORT,
  serverHttp: http,
  communicationProtocol: overGrpc ? CommunicationProtocolEnum.GRPC : CommunicationProtocolEnum.HTTP,
  clientOptions: {
    daprHost: "127.0.0.1",
    daprPort: overGrpc ? process.env.DAPR_GRPC_PORT : process.env.DAPR_HTTP_PORT,
  },
});

const received = [];

function note(pubsub, topic, route, status) {
  return async (data) => {
    received.push({ pubsub, topic, route, data });
    return status;
  };
}

// Refuses each event once.
function atSecondTry(pubsub, topic) {
  const seen = new Set();
  return async (data) => {
    received.push({ pubsub, topic, data });
    const known = seen.has(data);
    seen.add(data);
    return known ? DaprPubSubStatusEnum.SUCCESS : DaprPubSubStatusEnum.RETRY;
  };
}

async function subscribe(pubsub) {
  await server.pubsub.subscribe(pubsub, "plain", note(pubsub, "plain"));
  await server.pubsub.subscribe(pubsub, "raw", note(pubsub, "raw"), "", { rawPayload: true });
  await server.pubsub.subscribe(pubsub, "again", atSecondTry(pubsub, "again"));
  await server.pubsub.subscribeBulk(pubsub, "bulk", note(pubsub, "bulk"), {
    maxMessagesCount: 10,
    maxAwaitDurationMs: 50,
  });

  const rules = [{ match: 'event.type == "important"', path: "important" }];
  await server.pubsub.subscribeWithOptions(pubsub, "routed", { route: { default: "other", rules } });
  for (const route of ["important", "other"])
    server.pubsub.subscribeToRoute(pubsub, "routed", route, note(pubsub, "routed", route));

  await server.pubsub.subscribeWithOptions(pubsub, "doomed", {
    deadLetterTopic: "dead",
    callback: note(pubsub, "doomed", undefined, DaprPubSubStatusEnum.DROP),
  });
  await server.pubsub.subscribe(pubsub, "dead", note(pubsub, "dead"));
}

async function listen() {
  await server.invoker.listen("received", async () => received);
  await server.invoker.listen("echo", async ({ body }) => JSON.parse(body), { method: HttpMethod.POST });
  await server.invoker.listen("query", async ({ query }) => ({ query: query.replace(/^.*\?/, "") }));
  if (overGrpc) {
    await server.invoker.listen("refuse", async () => {
      throw new ConnectError("not yours", Code.PermissionDenied);
    });
    return;
  }
  await server.invoker.listen("headers", async ({ headers }) => headers);
  http.get("/refuse", (_, answer) => answer.status(403).send("not yours"));
  for (const pubsub of process.env.PUBSUBS.split(","))
    http.post(`/declared-${pubsub}`, async (request, answer) => {
      await note(pubsub, "declared")(request.body.data);
      answer.end();
    });
}

async function main() {
  for (const pubsub of process.env.PUBSUBS.split(","))
    await subscribe(pubsub);
  await listen();
  await server.binding.receive("tick", async () => received.push({ topic: "tick" }));
  await server.start();
}

main();
