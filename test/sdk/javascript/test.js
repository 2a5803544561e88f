// The JavaScript SDK's client, over both of its protocols. ../test_sdk.py starts what it talks to.
const assert = require("node:assert/strict");
const { once } = require("node:events");
const { after, before, describe, it } = require("node:test");
const { setTimeout: pause } = require("node:timers/promises");
const { CommunicationProtocolEnum, DaprClient, HttpMethod } = require("@dapr/dapr");
const { LockStatus } = require("@dapr/dapr/types/lock/UnlockResponse");
const { StateConcurrencyEnum } = require("@dapr/dapr/enum/StateConcurrency.enum");

const WAIT_MS = 20_000;
const appIsGrpc = process.env.APP_PROTOCOL === "grpc";
const each = (name) => (process.env[name] ? process.env[name].split(",") : []);

async function until(what, condition) {
  const end = Date.now() + WAIT_MS;
  for (;;) {
    const value = await condition();
    if (value) return value;
    assert.ok(Date.now() < end, `not within ${WAIT_MS} ms: ${what}`);
    await pause(20);
  }
}

// Whether it says so by an error or by what it returns: the SDK does both.
async function errorOf(call) {
  try {
    const result = await call();
    return result?.error ?? result?.failedMessages?.[0]?.error;
  } catch (problem) {
    return problem?.error ?? problem;
  }
}

function client(protocol, ports = process.env, prefix = "DAPR") {
  const grpc = protocol === CommunicationProtocolEnum.GRPC;
  return new DaprClient({
    daprHost: "127.0.0.1",
    daprPort: ports[`${prefix}_${grpc ? "GRPC" : "HTTP"}_PORT`],
    communicationProtocol: protocol,
  });
}

// What differs between the two protocols as the SDK shows it.
const PROTOCOLS = [
  { name: "http", protocol: CommunicationProtocolEnum.HTTP, denied: /"status":403/, conflict: /"status":409/ },
  { name: "grpc", protocol: CommunicationProtocolEnum.GRPC, denied: /permission_denied/, conflict: /aborted/ },
].filter(({ name }) => each("CLIENTS").includes(name));

for (const { name, protocol, denied, conflict } of PROTOCOLS) {
  const overGrpc = name === "grpc";
  const key = (text) => `js-${name}-${process.env.APP_PROTOCOL}-${text}`;

  describe(`client over ${name}`, () => {
    let dapr;
    before(() => (dapr = client(protocol)));
    after(() => dapr.stop());

    const arrived = (pubsub, topic, accept) =>
      until(`${topic} of ${pubsub}`, async () => {
        const all = await dapr.invoker.invoke("callee", "received", HttpMethod.GET);
        const some = all.filter((e) => e.pubsub === pubsub && e.topic === topic && accept(e.data));
        return some.length ? some : undefined;
      });

    describe("invocation", () => {
      it("a body comes back", async () => {
        const body = { text: "grüße", list: [1, 2.5, null, true], deep: { a: { b: [] } } };
        assert.deepEqual(await dapr.invoker.invoke("callee", "echo", HttpMethod.POST, body), body);
      });

      it("a query reaches the app", { skip: overGrpc && "the SDK sends none over gRPC" }, async () => {
        const answer = await dapr.invoker.invoke("callee", "query?a=1&b=x%20y", HttpMethod.GET);
        assert.equal(answer.query, "a=1&b=x%20y");
      });

      it("a header reaches the app", { skip: (overGrpc || appIsGrpc) && "not of this protocol" }, async () => {
        const headers = { "x-test": "here" };
        const answer = await dapr.invoker.invoke("callee", "headers", HttpMethod.GET, undefined, { headers });
        assert.equal(answer["x-test"], "here");
        assert.equal(answer["dapr-api-token"], "app-token");
        assert.equal(answer["dapr-caller-app-id"], "caller");
      });

      it("the app's refusal comes back", async () => {
        const error = await errorOf(() => dapr.invoker.invoke("callee", "refuse", HttpMethod.GET));
        assert.match(String(error?.message), denied);
        // Over gRPC an HTTP app's body is in the details, which the SDK keeps to itself.
        if (!overGrpc || appIsGrpc) assert.match(String(error?.message), /not yours/);
      });

      it("an unknown app is an error", async () => {
        assert.ok(await errorOf(() => dapr.invoker.invoke("nobody", "echo", HttpMethod.GET)));
      });
    });

    for (const store of each("STATES"))
      describe(`state in ${store}`, () => {
        it("is saved, read and deleted", async () => {
          const [a, b] = [key("a"), key("b")];
          await dapr.state.save(store, [
            { key: a, value: { name: "Ada", n: [1, 2] } },
            { key: b, value: "text" },
          ]);
          assert.deepEqual(await dapr.state.get(store, a), { name: "Ada", n: [1, 2] });
          assert.equal(await dapr.state.get(store, b), "text");
          const bulk = await dapr.state.getBulk(store, [a, b, key("none")]);
          const found = Object.fromEntries(bulk.map((item) => [item.key, item.data]));
          assert.deepEqual(found[a], { name: "Ada", n: [1, 2] });
          assert.equal(found[b], "text");
          assert.ok(!found[key("none")]);
          await dapr.state.delete(store, a);
          assert.equal(await dapr.state.get(store, a), "");
        });

        it("a stale ETag conflicts", async () => {
          const k = key("etag");
          await dapr.state.save(store, [{ key: k, value: 1 }]);
          const [{ etag }] = await dapr.state.getBulk(store, [k]);
          const options = { concurrency: StateConcurrencyEnum.CONCURRENCY_FIRST_WRITE };
          const save = (value) => dapr.state.save(store, [{ key: k, value, etag, options }]);
          assert.equal(await errorOf(() => save(2)), undefined);
          assert.match(String((await errorOf(() => save(3))).message), conflict);
          const remove = () => dapr.state.delete(store, k, { etag, ...options });
          assert.match(String((await errorOf(remove)).message), conflict);
          assert.equal(await dapr.state.get(store, k), 2);
        });

        it("a transaction is done whole", async () => {
          const [old, fresh] = [key("old"), key("fresh")];
          await dapr.state.save(store, [{ key: old, value: "x" }]);
          await dapr.state.transaction(store, [
            { operation: "upsert", request: { key: fresh, value: "1" } },
            { operation: "delete", request: { key: old } },
          ]);
          assert.equal(String(await dapr.state.get(store, fresh)), "1");
          assert.equal(await dapr.state.get(store, old), "");
        });

        it("lives as long as its ttl says", async () => {
          const k = key("ttl"), lasting = key("lasting");
          await dapr.state.save(store, [
            { key: k, value: "soon gone", metadata: { ttlInSeconds: "1" } }, // of a clock of whole seconds
            { key: lasting, value: "still here", metadata: { ttlInSeconds: "600" } },
          ]);
          assert.equal(await dapr.state.get(store, lasting), "still here");
          await until("it has expired", async () => (await dapr.state.get(store, k)) === "");
        });
      });

    it("an unknown store is an error", async () => {
      assert.ok(await errorOf(() => dapr.state.save("nowhere", [{ key: "k", value: 1 }])));
    });

    for (const pubsub of each("PUBSUBS"))
      describe(`events through ${pubsub}`, () => {
        const publish = async (topic, data, options) =>
          assert.equal(await errorOf(() => dapr.pubsub.publish(pubsub, topic, data, options)), undefined);

        it("an object and a text arrive, once", async () => {
          await publish("plain", { id: key("object") });
          await publish("plain", key("text"));
          await arrived(pubsub, "plain", (data) => data === key("text"));
          const objects = await arrived(pubsub, "plain", (data) => data.id === key("object"));
          assert.equal(objects.length, 1);
        });

        it("a raw event arrives", async () => {
          await publish("raw", { id: key("raw") }, { metadata: { rawPayload: "true" } });
          await arrived(pubsub, "raw", (data) => data.id === key("raw"));
        });

        it("the rules of its route decide", async () => {
          await publish("routed", key("urgent"), { metadata: { "cloudevent.type": "important" } });
          await publish("routed", key("idle"));
          const [urgent] = await arrived(pubsub, "routed", (data) => data === key("urgent"));
          const [idle] = await arrived(pubsub, "routed", (data) => data === key("idle"));
          assert.deepEqual([urgent.route, idle.route], ["important", "other"]);
        });

        it("RETRY brings it again", async () => {
          await publish("again", key("again"));
          await until("the second delivery", async () => {
            const tries = await arrived(pubsub, "again", (data) => data === key("again"));
            assert.ok(tries.length <= 2, "SUCCESS is the end of it");
            return tries.length === 2;
          });
        });

        it("DROP makes it a dead letter", async () => {
          await publish("doomed", key("doomed"));
          await arrived(pubsub, "dead", (data) => data === key("doomed"));
          const tries = await arrived(pubsub, "doomed", (data) => data === key("doomed"));
          assert.equal(tries.length, 1);
        });

        it("many at once arrive", async () => {
          const texts = [...Array(20).keys()].map((i) => key(`many-${i}`));
          assert.deepEqual((await dapr.pubsub.publishBulk(pubsub, "plain", texts)).failedMessages, []);
          for (const text of texts)
            assert.equal((await arrived(pubsub, "plain", (data) => data === text)).length, 1);
        });

        it("a bulk subscription gets each", async () => {
          const ids = [...Array(5).keys()].map((i) => key(`bulk-${i}`));
          const { failedMessages } = await dapr.pubsub.publishBulk(pubsub, "bulk", ids.map((id) => ({ event: { id } })));
          assert.deepEqual(failedMessages, []);
          for (const id of ids) await arrived(pubsub, "bulk", (data) => data.id === id);
        });

        it("a subscription from a file works", { skip: appIsGrpc && "not with the SDK's gRPC server" }, async () => {
          await publish("declared", { id: key("declared") });
          await arrived(pubsub, "declared", (data) => data.id === key("declared"));
        });
      });

    it("publishing to an unknown broker is an error", async () => {
      assert.ok(await errorOf(() => dapr.pubsub.publish("nowhere", "plain", "x")));
      assert.ok(await errorOf(() => dapr.pubsub.publishBulk("nowhere", "plain", ["x"])));
    });

    it("secrets are read", async () => {
      assert.deepEqual(await dapr.secret.get("secrets", "plain"), { plain: "a plain secret" });
      const all = await dapr.secret.getBulk("secrets");
      assert.deepEqual(all["db:password"], { "db:password": "hush" });
      assert.ok(await errorOf(() => dapr.secret.get("secrets", "none")));
    });

    it("an output binding is called", async () => {
      const answer = await dapr.binding.send("outside", "post", { n: 1 }, { path: "/echo" });
      const data = overGrpc ? JSON.parse(Buffer.from(answer.data).toString()) : answer;
      assert.deepEqual(data, { n: 1 });
      assert.ok(await errorOf(() => dapr.binding.send("outside", "dance", "x")));
    });

    it("an input binding calls the app", async () => {
      await until("a tick", async () => {
        const all = await dapr.invoker.invoke("callee", "received", HttpMethod.GET);
        return all.some(({ topic }) => topic === "tick");
      });
    });

    it("metadata is read and written", async () => {
      assert.ok(await dapr.metadata.set("mood", "calm"));
      const metadata = await dapr.metadata.get();
      assert.equal(metadata.id, "caller");
      assert.equal(metadata.extended.mood, "calm");
      const secrets = metadata.components.find((c) => c.name === "secrets");
      assert.equal(secrets.type, "secretstores.local.file");
      assert.equal(await dapr.health.isHealthy(), true);
    });

    for (const store of each("LOCKS"))
      it(`a lock of ${store} has one owner`, async () => {
        const name = key("door");
        assert.equal((await dapr.lock.lock(store, name, "ada", 60)).success, true);
        assert.equal((await dapr.lock.lock(store, name, "bob", 60)).success, false);
        assert.equal((await dapr.lock.unlock(store, name, "bob")).status, LockStatus.LockBelongsToOthers);
        assert.equal((await dapr.lock.unlock(store, name, "ada")).status, LockStatus.Success);
        assert.equal((await dapr.lock.unlock(store, name, "ada")).status, LockStatus.LockDoesNotExist);
      });

    if (!overGrpc) return; // the SDK has neither configuration nor crypto over HTTP

    for (const store of each("CONFIGS"))
      it(`configuration in ${store} is read and watched`, async () => {
        const [name, other] = [key("colour"), key("other")];
        const change = (k, value) => dapr.binding.send("outside", "post", { store, key: k, value }, { path: "/change" });
        await change(name, "red");
        await change(other, "x");
        const { items } = await dapr.configuration.get(store, [name]);
        assert.deepEqual(Object.keys(items), [name]);
        assert.equal(items[name].value, "red");

        const seen = [];
        const stream = await dapr.configuration.subscribeWithKeys(store, [name], async (update) => {
          assert.deepEqual(Object.keys(update.items), [name]);
          seen.push(update.items[name].value);
        });
        // The SDK doesn't say when the subscription stands: change until it shows.
        let n = 0;
        await until("a change is seen", async () => {
          await change(name, `green-${n++}`);
          return seen.some((value) => value.startsWith("green"));
        });
        await stream.stop();
      });

    for (const [wrap, keyName] of [["RSA", "rsa"], ["A256KW", "aes"]])
      it(`what ${wrap} encrypts it decrypts`, { skip: each("CRYPTO").length === 0 && "no provider" }, async () => {
        const data = Buffer.alloc(300_000, "0123456789abcdef");
        const options = { componentName: "crypto", keyName, keyWrapAlgorithm: wrap };
        const sealed = await dapr.crypto.encrypt(data, options);
        assert.ok(!sealed.includes("0123456789abcdef"));
        assert.ok(data.equals(await dapr.crypto.decrypt(sealed, options)));

        const stream = await dapr.crypto.encrypt(options);
        const chunks = [];
        stream.on("data", (chunk) => chunks.push(chunk));
        stream.write("by ");
        stream.end("stream");
        await once(stream, "end");
        const opened = await dapr.crypto.decrypt(Buffer.concat(chunks), { componentName: "crypto" });
        assert.equal(opened.toString(), "by stream");

        sealed[sealed.length - 1] ^= 1;
        await assert.rejects(dapr.crypto.decrypt(sealed, options));
      });
  });
}

it("a sidecar is shut down", async () => {
  const spare = client(PROTOCOLS.at(-1).protocol, process.env, "SPARE");
  await spare.sidecar.shutdown();
  await spare.stop();
});
