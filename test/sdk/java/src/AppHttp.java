import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import io.dapr.client.domain.CloudEvent;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Executors;

/** The app over HTTP: the JDK's server, events by the SDK's CloudEvent. */
class AppHttp {
  private static final ObjectMapper JSON = new ObjectMapper();
  private final Received received;
  private final HttpServer server;

  private interface Handler {
    byte[] handle(HttpExchange call, byte[] body) throws IOException;
  }

  AppHttp(Received received, InetSocketAddress address) throws IOException {
    this.received = received;
    server = HttpServer.create(address, 0);
    server.setExecutor(Executors.newCachedThreadPool());
    on("/", (call, body) -> refuse(call, 404, ""));
    on("/dapr/subscribe", (call, body) -> JSON.writeValueAsBytes(Received.subscriptions()));
    on("/received", (call, body) -> received.json());
    on("/echo", (call, body) -> echo(call, body));
    on("/query", (call, body) -> JSON.writeValueAsBytes(Map.of("query", call.getRequestURI().getRawQuery())));
    on("/headers", (call, body) -> JSON.writeValueAsBytes(headers(call)));
    on("/refuse", (call, body) -> refuse(call, 403, "not yours"));
    on("/tick", (call, body) -> tick());
    on("/bulk", (call, body) -> bulk(body));
    for (String route : List.of("plain", "raw", "again", "doomed", "dead", "important", "other"))
      on("/" + route, (call, body) -> event(route, body));
    for (String pubsub : Received.PUBSUBS)
      on("/declared-" + pubsub, (call, body) -> event("declared", body));
  }

  void start() {
    server.start();
  }

  private byte[] event(String route, byte[] body) throws IOException {
    CloudEvent<?> event = CloudEvent.deserialize(body);
    Object data = event.getBinaryData() != null ? new String(event.getBinaryData(), StandardCharsets.UTF_8) : event.getData();
    Received.Answer answer = received.add(event.getPubsubName(), route, event.getId(), data);
    return JSON.writeValueAsBytes(Map.of("status", answer));
  }

  private byte[] bulk(byte[] body) throws IOException {
    JsonNode message = JSON.readTree(body);
    List<Map<String, Object>> statuses = new ArrayList<>();
    for (JsonNode entry : message.get("entries")) {
      Object data = JSON.treeToValue(entry.at("/event/data"), Object.class);
      received.add(message.get("pubsubname").asText(), "bulk", entry.get("entryId").asText(), data);
      statuses.add(Map.of("entryId", entry.get("entryId").asText(), "status", "SUCCESS"));
    }
    return JSON.writeValueAsBytes(Map.of("statuses", statuses));
  }

  private byte[] tick() {
    received.add(null, "tick", null, null);
    return new byte[0];
  }

  private static byte[] echo(HttpExchange call, byte[] body) {
    call.getResponseHeaders().set("Content-Type", call.getRequestHeaders().getFirst("Content-Type"));
    return body;
  }

  private static Map<String, String> headers(HttpExchange call) {
    Map<String, String> all = new HashMap<>();
    call.getRequestHeaders().forEach((name, values) -> all.put(name.toLowerCase(), values.get(0)));
    return all;
  }

  private static byte[] refuse(HttpExchange call, int status, String text) throws IOException {
    send(call, status, text.getBytes(StandardCharsets.UTF_8));
    return null;
  }

  private static void send(HttpExchange call, int status, byte[] body) throws IOException {
    call.sendResponseHeaders(status, body.length == 0 ? -1 : body.length);
    call.getResponseBody().write(body);
    call.close();
  }

  private void on(String path, Handler handler) {
    server.createContext(path, call -> {
      byte[] answer = handler.handle(call, call.getRequestBody().readAllBytes());
      if (answer != null) {
        call.getResponseHeaders().putIfAbsent("Content-Type", List.of("application/json"));
        send(call, 200, answer);
      }
    });
  }
}
