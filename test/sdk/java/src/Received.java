import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** What the app has got so far, and what it answers: the same for its two protocols. */
class Received {
  enum Answer { SUCCESS, RETRY, DROP }

  private static final ObjectMapper JSON = new ObjectMapper();
  private final List<Map<String, Object>> all = new ArrayList<>();
  private final Set<String> seen = new HashSet<>();

  static final List<String> PUBSUBS = List.of(System.getenv("PUBSUBS").split(","));

  /** The subscriptions that the app asks for; doomed ones are resources where that is possible. */
  static List<Map<String, Object>> subscriptions() {
    List<Map<String, Object>> all = new ArrayList<>();
    for (String pubsub : PUBSUBS) {
      for (String topic : List.of("plain", "again", "dead"))
        all.add(subscription(pubsub, topic, Map.of("route", "/" + topic)));
      all.add(subscription(pubsub, "raw", Map.of("route", "/raw", "metadata", Map.of("rawPayload", "true"))));
      all.add(subscription(pubsub, "doomed", Map.of("route", "/doomed", "deadLetterTopic", "dead")));
      all.add(subscription(pubsub, "bulk", Map.of("route", "/bulk", "bulkSubscribe",
          Map.of("enabled", true, "maxMessagesCount", 10, "maxAwaitDurationMs", 50))));
      all.add(subscription(pubsub, "routed", Map.of("routes", Map.of("default", "/other", "rules",
          List.of(Map.of("match", "event.type == \"important\"", "path", "/important"))))));
    }
    return all;
  }

  private static Map<String, Object> subscription(String pubsub, String topic, Map<String, Object> more) {
    Map<String, Object> all = new HashMap<>(more);
    all.put("pubsubname", pubsub);
    all.put("topic", topic);
    return all;
  }

  /** A dead letter keeps the topic that it had, so a route is the name of its topic here. */
  synchronized Answer add(String pubsub, String path, String id, Object data) {
    String route = path.replaceFirst("^/", "").replaceFirst("-pubsub.*$", "");
    String topic = List.of("important", "other").contains(route) ? "routed" : route;
    Map<String, Object> event = new HashMap<>();
    event.put("pubsub", pubsub);
    event.put("topic", topic);
    event.put("route", route);
    event.put("data", data);
    all.add(event);
    if ("doomed".equals(topic))
      return Answer.DROP;
    return "again".equals(topic) && seen.add(id) ? Answer.RETRY : Answer.SUCCESS;
  }

  synchronized byte[] json() throws JsonProcessingException {
    return JSON.writeValueAsBytes(all);
  }
}
