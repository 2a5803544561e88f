import io.grpc.netty.NettyServerBuilder;
import java.net.InetSocketAddress;

/** The app of the Java suite: APP_PROTOCOL says whether it speaks HTTP or gRPC. */
public class App {
  public static void main(String[] args) throws Exception {
    InetSocketAddress address = new InetSocketAddress("127.0.0.1", Integer.parseInt(System.getenv("APP_PORT")));
    Received received = new Received();
    if ("grpc".equals(System.getenv("APP_PROTOCOL"))) {
      AppGrpc app = new AppGrpc(received);
      NettyServerBuilder.forAddress(address).addService(app).addService(app.new Bulk())
          .intercept(new AppGrpc.Headers()).build().start().awaitTermination();
    } else {
      new AppHttp(received, address).start();
    }
  }
}
