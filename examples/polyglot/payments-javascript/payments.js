// payments in JavaScript: charges customers, and gives the money back when an order can't be shipped.
//
// The SDK's server takes events, its client keeps the data, both over HTTP. A payment and the customer's
// account change in one transaction. Keys: payment/<order>, account/<customer>.
const { DaprPubSubStatusEnum, DaprServer, StateConcurrencyEnum } = require("@dapr/dapr");
const express = require("express");
const { setTimeout: sleep } = require("node:timers/promises");

const BUS = "bus";
const STORE = "store";
const DEAD_LETTERS = "orders.dead";
const LIMIT = 100000; // cents that a card is good for
const TRIES = 30;
const DELAY_MAX_MS = 5000;
const DELAY_MAX_S = 600;
const NAME = /^[A-Za-z0-9._-]{1,64}$/;

const http = express();
const server = new DaprServer({
  serverHost: "127.0.0.1",
  serverPort: process.env.APP_PORT,
  serverHttp: http,
  clientOptions: { daprHost: "127.0.0.1", daprPort: process.env.DAPR_HTTP_PORT },
});
const { state, pubsub } = server.client;
const stats = { events: 0, again: 0 };
const slow = { ms: 0, until: 0 }; // for demonstrations: POST admin/slow

class Refused extends Error {} // it never can be done: to the dead letters

// ---- reading and writing ----

// The payment and the account that an order is about, each { key, value, etag }; no value: it's new.
async function read(order) {
  const keys = [`payment/${order.order}`, `account/${order.customer}`];
  const found = await state.getBulk(STORE, keys);
  return keys.map((key) => {
    const item = found.find((f) => f.key === key);
    if (item?.error) throw new Error(item.error);
    return { key, value: item?.data || undefined, etag: item?.etag };
  });
}

// Written only if nobody has since it was read; without an ETag: only if it's still new.
function upsert({ key, etag }, value) {
  const options = { concurrency: StateConcurrencyEnum.CONCURRENCY_FIRST_WRITE };
  return { operation: "upsert", request: { key, value, etag, options } };
}

async function save(order, payment, account, newState, amount) {
  const value = { state: newState, customer: order.customer, amount: order.total };
  const writes = [upsert(payment, value)];
  if (amount !== 0) writes.push(upsert(account, { balance: (account.value?.balance ?? 0) + amount }));
  await state.transaction(STORE, writes);
}

// Until a try succeeds: one that fails lost against another change, or the store is away for a moment.
async function untilDone(attempt) {
  for (let n = 1; ; n++)
    try {
      return await attempt();
    } catch (problem) {
      if (problem instanceof Refused || n === TRIES) throw problem;
      await sleep(Math.random() * 30);
    }
}

// The event's id is made of topic and order, so that a repetition is recognised.
async function emit(topic, order) {
  const metadata = { "cloudevent.id": `${order.order}/${topic}`, partitionKey: order.order };
  const { error } = await pubsub.publish(BUS, topic, order, { metadata });
  if (error) throw error;
}

// ---- the steps: each says whether its work was done before ----

// The payment's state afterwards, and whether it had it before.
async function tryCharge(order) {
  const [payment, account] = await read(order);
  if (payment.value) return [payment.value.state, true];
  const good = order.total <= LIMIT;
  const now = good ? "charged" : "declined";
  await save(order, payment, account, now, good ? order.total : 0);
  return [now, false];
}

// Nothing is left to say of a refunded one: only who knew that it was charged could ask for it.
async function charge(order) {
  if (Date.now() < slow.until) await sleep(slow.ms);
  const [now, again] = await untilDone(() => tryCharge(order));
  if (now !== "refunded") await emit(`payments.${now}`, order);
  return again;
}

async function tryRefund(order) {
  const [payment, account] = await read(order);
  if (payment.value?.state === "refunded") return true;
  if (payment.value?.state !== "charged") throw new Refused();
  await save(order, payment, account, "refunded", -order.total);
  return false;
}

async function refund(order) {
  const again = await untilDone(() => tryRefund(order));
  await emit("payments.refunded", order);
  return again;
}

// ---- the service ----

function isOrder(data) {
  const texts = [data?.order, data?.customer, data?.sku, data?.country];
  const within = (n, least, most) => Number.isInteger(n) && n >= least && n <= most;
  return (
    texts.every((text) => typeof text === "string" && NAME.test(text)) &&
    within(data.quantity, 1, 100) &&
    within(data.total, 0, Number.MAX_SAFE_INTEGER)
  );
}

function handler(topic, step) {
  return async (order) => {
    if (!isOrder(order)) {
      console.error(`payments: an event of ${topic} holds no order`);
      return DaprPubSubStatusEnum.DROP;
    }
    try {
      const again = await step(order);
      stats.again += again ? 1 : 0;
      return DaprPubSubStatusEnum.SUCCESS;
    } catch (problem) {
      if (problem instanceof Refused) {
        console.error(`payments: ${topic} makes no sense for order ${order.order}`);
        return DaprPubSubStatusEnum.DROP;
      }
      console.error(`payments: ${topic} of order ${order.order} must come again: ${problem.message}`);
      return DaprPubSubStatusEnum.RETRY;
    } finally {
      stats.events++;
    }
  };
}

function setSlow(request, answer) {
  const { ms, seconds } = request.body ?? {};
  const within = (n, most) => Number.isInteger(n) && n >= 0 && n <= most;
  if (!within(ms, DELAY_MAX_MS) || !within(seconds, DELAY_MAX_S)) {
    const error = `send {"ms":0…${DELAY_MAX_MS},"seconds":0…${DELAY_MAX_S}}: both are numbers`;
    return answer.status(400).json({ error });
  }
  slow.ms = ms;
  slow.until = Date.now() + 1000 * seconds;
  return answer.json({ ms, seconds });
}

async function main() {
  const steps = { "inventory.reserved": charge, "shipping.refused": refund };
  for (const [topic, step] of Object.entries(steps))
    await server.pubsub.subscribeWithOptions(BUS, topic, {
      deadLetterTopic: DEAD_LETTERS,
      callback: handler(topic, step),
    });
  http.get("/stats", (_, answer) => answer.json(stats));
  http.post("/admin/slow", setSlow);
  http.all("/admin/slow", (_, answer) => answer.status(405).json({ error: "use POST" }));
  await server.start();
}

main();
