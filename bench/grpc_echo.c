/* grpc_echo — a gRPC server that sends each message back, for the bench of proxied calls.
 * usage: grpc_echo [port [workers]]; prints its port. */
#include "http/grpc.h"
#include "loop/worker.h"

#include <signal.h>
#include <stdio.h>

static void handle(void *arg, struct http_exchange *x)
{
    (void)arg;
    str message;
    int r;
    if (!grpc_is_request(&x->req)) {
        (void)http_reply(x, 415, NULL, S(""));
        return;
    }
    while ((r = grpc_recv(x, MIB(4), &message)) > 0)
        if ((r = grpc_send(x, message)) < 0)
            break;
    (void)grpc_finish(x, r < 0 ? INTERNAL : OK, S(""), S(""), NULL);
}

int main(int argc, char **argv)
{
    uint64_t port = 0, workers = 1;
    if ((argc > 1 && !str_to_u64(str_c(argv[1]), &port)) ||
        (argc > 2 && !str_to_u64(str_c(argv[2]), &workers))) {
        fprintf(stderr, "usage: %s [port [workers]]\n", argv[0]);
        return 2;
    }
    sigset_t stop;
    sigemptyset(&stop);
    sigaddset(&stop, SIGINT);
    sigaddset(&stop, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &stop, NULL);
    struct error err = { 0 };
    struct http_server *server;
    struct http_server_config config = { .handle = handle, .h2 = true };
    char address[32];
    snprintf(address, sizeof address, "127.0.0.1:%u", (unsigned)port);
    if (workers_start(workers, 20000, &err) < 0 ||
        http_server_open(address, &config, &server, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    printf("%u\n", http_server_port(server));
    fflush(stdout);
    int signal;
    sigwait(&stop, &signal);
    (void)http_server_stop(server, SEC(1));
    http_server_free(server);
    return workers_stop(SEC(1)) ? 1 : 0;
}
