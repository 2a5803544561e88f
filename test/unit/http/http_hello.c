/* http_hello — a server that answers each request with 1 KiB from memory, for wrk and h2load.
 * usage: http_hello [port [workers]]; POST bodies are read and dropped. */
#include "base/arena.h"
#include "http/server.h"
#include "loop/worker.h"

#include <signal.h>
#include <stdio.h>

static char body[1024];

static void handle(void *arg, struct http_exchange *x)
{
    (void)arg;
    str in;
    int r = http_read_all(x, MIB(4), &in);
    (void)http_reply(x, r < 0 ? 400 : 200, NULL, str_of(body, sizeof body));
}

int main(int argc, char **argv)
{
    uint64_t port = 0, workers = 1;
    if ((argc > 1 && !str_to_u64(str_c(argv[1]), &port)) ||
        (argc > 2 && !str_to_u64(str_c(argv[2]), &workers))) {
        fprintf(stderr, "usage: %s [port [workers]]\n", argv[0]);
        return 2;
    }
    memset(body, 'x', sizeof body);
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
