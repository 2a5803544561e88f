import com.fasterxml.jackson.databind.ObjectMapper;
import com.google.protobuf.Any;
import com.google.protobuf.ByteString;
import com.google.protobuf.Empty;
import io.dapr.v1.AppCallbackAlphaGrpc;
import io.dapr.v1.AppCallbackGrpc;
import io.dapr.v1.CommonProtos.InvokeRequest;
import io.dapr.v1.CommonProtos.InvokeResponse;
import io.dapr.v1.DaprAppCallbackProtos.BindingEventRequest;
import io.dapr.v1.DaprAppCallbackProtos.BindingEventResponse;
import io.dapr.v1.DaprAppCallbackProtos.BulkSubscribeConfig;
import io.dapr.v1.DaprAppCallbackProtos.ListInputBindingsResponse;
import io.dapr.v1.DaprAppCallbackProtos.ListTopicSubscriptionsResponse;
import io.dapr.v1.DaprAppCallbackProtos.TopicEventBulkRequest;
import io.dapr.v1.DaprAppCallbackProtos.TopicEventBulkResponse;
import io.dapr.v1.DaprAppCallbackProtos.TopicEventBulkResponseEntry;
import io.dapr.v1.DaprAppCallbackProtos.TopicEventRequest;
import io.dapr.v1.DaprAppCallbackProtos.TopicEventResponse;
import io.dapr.v1.DaprAppCallbackProtos.TopicEventResponse.TopicEventResponseStatus;
import io.dapr.v1.DaprAppCallbackProtos.TopicRoutes;
import io.dapr.v1.DaprAppCallbackProtos.TopicRule;
import io.dapr.v1.DaprAppCallbackProtos.TopicSubscription;
import io.grpc.Context;
import io.grpc.Contexts;
import io.grpc.Metadata;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import io.grpc.Status;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** The app over gRPC, on the stubs that come with the SDK. */
class AppGrpc extends AppCallbackGrpc.AppCallbackImplBase {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final Context.Key<Metadata> HEADERS = Context.key("headers");
  private final Received received;

  AppGrpc(Received received) {
    this.received = received;
  }

  /** Keeps the headers of a call where its method can see them. */
  static class Headers implements ServerInterceptor {
    @Override
    public <A, B> ServerCall.Listener<A> interceptCall(ServerCall<A, B> call, Metadata headers, ServerCallHandler<A, B> next) {
      return Contexts.interceptCall(Context.current().withValue(HEADERS, headers), call, headers, next);
    }
  }

  @Override
  public void onInvoke(InvokeRequest request, StreamObserver<InvokeResponse> answer) {
    try {
      byte[] data = invoke(request);
      String type = request.getMethod().equals("echo") ? request.getContentType() : "application/json";
      send(answer, InvokeResponse.newBuilder().setContentType(type)
          .setData(Any.newBuilder().setValue(ByteString.copyFrom(data))).build());
    } catch (IOException | RuntimeException problem) {
      answer.onError(problem);
    }
  }

  private byte[] invoke(InvokeRequest request) throws IOException {
    switch (request.getMethod()) {
      case "received":
        return received.json();
      case "echo":
        return request.getData().getValue().toByteArray();
      case "query":
        return JSON.writeValueAsBytes(Map.of("query", request.getHttpExtension().getQuerystring()));
      case "headers":
        return JSON.writeValueAsBytes(headers());
      case "refuse":
        throw Status.PERMISSION_DENIED.withDescription("not yours").asRuntimeException();
      default:
        throw Status.UNIMPLEMENTED.withDescription("no method " + request.getMethod()).asRuntimeException();
    }
  }

  private static Map<String, String> headers() {
    Map<String, String> all = new HashMap<>();
    for (String name : HEADERS.get().keys())
      if (!name.endsWith(Metadata.BINARY_HEADER_SUFFIX))
        all.put(name, HEADERS.get().get(Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER)));
    return all;
  }

  @Override
  @SuppressWarnings("unchecked")
  public void listTopicSubscriptions(Empty request, StreamObserver<ListTopicSubscriptionsResponse> answer) {
    ListTopicSubscriptionsResponse.Builder all = ListTopicSubscriptionsResponse.newBuilder();
    for (Map<String, Object> s : Received.subscriptions()) {
      TopicSubscription.Builder one = all.addSubscriptionsBuilder();
      one.setPubsubName((String) s.get("pubsubname")).setTopic((String) s.get("topic"));
      one.putAllMetadata((Map<String, String>) s.getOrDefault("metadata", Map.of()));
      one.setDeadLetterTopic((String) s.getOrDefault("deadLetterTopic", ""));
      TopicRoutes.Builder routes = one.getRoutesBuilder().setDefault((String) s.getOrDefault("route", ""));
      Map<String, Object> ruled = (Map<String, Object>) s.get("routes");
      if (ruled != null) {
        routes.setDefault((String) ruled.get("default"));
        for (Map<String, String> rule : (List<Map<String, String>>) ruled.get("rules"))
          routes.addRules(TopicRule.newBuilder().setMatch(rule.get("match")).setPath(rule.get("path")));
      }
      if (s.containsKey("bulkSubscribe"))
        one.setBulkSubscribe(BulkSubscribeConfig.newBuilder().setEnabled(true).setMaxMessagesCount(10).setMaxAwaitDurationMs(50));
    }
    send(answer, all.build());
  }

  @Override
  public void onTopicEvent(TopicEventRequest event, StreamObserver<TopicEventResponse> answer) {
    Received.Answer said = received.add(event.getPubsubName(), event.getPath(), event.getId(),
        data(event.getData(), event.getDataContentType()));
    send(answer, TopicEventResponse.newBuilder().setStatus(TopicEventResponseStatus.valueOf(said.name())).build());
  }

  @Override
  public void listInputBindings(Empty request, StreamObserver<ListInputBindingsResponse> answer) {
    send(answer, ListInputBindingsResponse.newBuilder().addBindings("tick").build());
  }

  @Override
  public void onBindingEvent(BindingEventRequest event, StreamObserver<BindingEventResponse> answer) {
    received.add(null, event.getName(), null, null);
    send(answer, BindingEventResponse.getDefaultInstance());
  }

  /** Bulk deliveries, which these stubs know under their former name, too. */
  class Bulk extends AppCallbackAlphaGrpc.AppCallbackAlphaImplBase {
    @Override
    public void onBulkTopicEventAlpha1(TopicEventBulkRequest bulk, StreamObserver<TopicEventBulkResponse> answer) {
      TopicEventBulkResponse.Builder all = TopicEventBulkResponse.newBuilder();
      bulk.getEntriesList().forEach(entry -> {
        received.add(bulk.getPubsubName(), bulk.getPath(), entry.getEntryId(),
            data(entry.getCloudEvent().getData(), entry.getCloudEvent().getDataContentType()));
        all.addStatuses(TopicEventBulkResponseEntry.newBuilder().setEntryId(entry.getEntryId())
            .setStatus(TopicEventResponseStatus.SUCCESS));
      });
      send(answer, all.build());
    }
  }

  private static Object data(ByteString bytes, String type) {
    try {
      return type.startsWith("application/json") ? JSON.readValue(bytes.toByteArray(), Object.class) : bytes.toStringUtf8();
    } catch (IOException problem) {
      return problem.toString();
    }
  }

  private static <T> void send(StreamObserver<T> answer, T value) {
    answer.onNext(value);
    answer.onCompleted();
  }
}
