import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import io.dapr.client.DaprClient;
import io.dapr.client.DaprClientBuilder;
import io.dapr.client.domain.CloudEvent;
import io.dapr.client.domain.PublishEventRequest;
import io.dapr.client.domain.StateOptions;
import io.dapr.client.domain.StateOptions.Concurrency;
import io.dapr.client.domain.StateOptions.Consistency;
import io.dapr.exceptions.DaprException;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicLong;
import java.util.stream.Stream;

/**
 * shipping in Java: hands parcels to the carrier, once for each order.
 *
 * <p>The JDK's HTTP server takes events, the SDK's client keeps the data over gRPC. Keys: shipment/&lt;order&gt;.
 */
public class Shipping {
  private static final String BUS = "bus";
  private static final String STORE = "store";
  private static final String TOPIC = "payments.charged";
  private static final List<Map<String, String>> SUBSCRIPTIONS = List.of(Map.of(
      "pubsubname", BUS, "topic", TOPIC, "route", "/charged", "deadLetterTopic", "orders.dead"));
  private static final StateOptions ONCE = new StateOptions(Consistency.STRONG, Concurrency.FIRST_WRITE);
  /** No carrier goes there: Antarctica, Bouvet Island, Heard Island. */
  private static final Set<String> UNSERVED = Set.of("AQ", "BV", "HM");
  private static final int THREADS = 32;
  private static final ObjectMapper JSON = new ObjectMapper();

  private enum Status { SUCCESS, RETRY, DROP }

  private interface Handler {
    Object answer(HttpExchange call) throws IOException;
  }

  private final DaprClient dapr = new DaprClientBuilder().build();
  private final AtomicLong events = new AtomicLong();
  private final AtomicLong again = new AtomicLong();

  /**
   * Where the parcel goes decides, and it never changes: whoever comes a second time finds the same answer,
   * saved or not. Saves first and publishes then; who dies in between gets the event again.
   */
  private void handOver(JsonNode order) {
    String state = UNSERVED.contains(order.get("country").asText()) ? "refused" : "shipped";
    Map<String, Object> shipment = Map.of(
        "state", state, "sku", order.get("sku").asText(), "quantity", order.get("quantity").asInt());
    String id = order.get("order").asText();
    try {
      dapr.saveState(STORE, "shipment/" + id, null, shipment, ONCE).block();
    } catch (DaprException problem) {
      if (!"ABORTED".equals(problem.getErrorCode()))
        throw problem;
      again.incrementAndGet(); // it's there already
    }
    String topic = "shipping." + state;
    dapr.publishEvent(new PublishEventRequest(BUS, topic, order)
        .setMetadata(Map.of("cloudevent.id", id + "/" + topic, "partitionKey", id))).block();
  }

  private static boolean isOrder(JsonNode data) {
    boolean named = Stream.of("order", "customer", "sku", "country").map(data::path)
        .allMatch(text -> text.isTextual() && text.asText().matches("[A-Za-z0-9._-]{1,64}"));
    JsonNode quantity = data.path("quantity");
    JsonNode total = data.path("total");
    return named && quantity.isInt() && quantity.asInt() >= 1 && quantity.asInt() <= 100
        && total.isIntegralNumber() && total.asLong() >= 0;
  }

  private Map<String, Status> charged(HttpExchange call) throws IOException {
    CloudEvent<?> event = CloudEvent.deserialize(call.getRequestBody().readAllBytes());
    JsonNode order = JSON.valueToTree(event.getData());
    if (!isOrder(order)) {
      System.err.printf("shipping: event %s of %s holds no order%n", event.getId(), TOPIC);
      return Map.of("status", Status.DROP);
    }
    Status status = Status.SUCCESS;
    try {
      handOver(order);
    } catch (DaprException problem) {
      System.err.printf("shipping: %s of order %s must come again: %s%n", TOPIC,
          order.get("order").asText(), problem.getMessage());
      status = Status.RETRY;
    }
    events.incrementAndGet();
    return Map.of("status", status);
  }

  private void serve(int port) throws IOException {
    HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", port), 0);
    server.setExecutor(Executors.newFixedThreadPool(THREADS));
    on(server, "/dapr/subscribe", call -> SUBSCRIPTIONS);
    on(server, "/charged", this::charged);
    on(server, "/stats", call -> Map.of("events", events, "again", again));
    server.start();
  }

  private static void on(HttpServer server, String path, Handler handler) {
    server.createContext(path, call -> {
      byte[] answer = JSON.writeValueAsBytes(handler.answer(call));
      call.getResponseHeaders().set("Content-Type", "application/json");
      call.sendResponseHeaders(200, answer.length);
      call.getResponseBody().write(answer);
      call.close();
    });
  }

  public static void main(String[] args) throws IOException {
    new Shipping().serve(Integer.parseInt(System.getenv("APP_PORT")));
  }
}
