/* ask.h — how the small commands (status, publish, invoke) find a run and talk to it.
 * Owner:  results live in the caller's arena.
 * Thread: ask_in_fiber() is for the main thread; the rest is called within it.
 * Failure: -CODE with what to do in the text; every call has a deadline. */
#pragma once

#include "cli/run_dir.h"

#include "format/json.h"
#include "http/client.h"

enum { ASK_BODY_MAX = 16 << 20, ASK_TIMEOUT_S = 60 };

/* Runs fn(arg) in a fiber of a worker that lives as long. */
int ask_in_fiber(void (*fn)(void *arg), void *arg, struct error *err) WUR;

struct ask {
    const char *address; /* "127.0.0.1:3500" or "unix:/…" */
    str method, target, content_type, body;
    str authorization;  /* of a run's control routes */
    unsigned timeout_s; /* 0 = ASK_TIMEOUT_S */
};
struct answer {
    int status;
    str content_type, body;
};
/* Sends DAPR_API_TOKEN along if it is set. */
CO int ask_call(const struct ask *ask, struct arena *a, struct answer *ret, struct error *err) WUR;

/* The one run of this user, or the one that is called name, or listens on port (0 = any). */
int ask_find_run(struct arena *a, const char *name, int64_t port, struct run_control *ret,
                 struct error *err) WUR;
/* The one that was found before, whatever others have begun since. -NOT_FOUND: it has ended. The
 * texts of *run are new ones in the arena. */
int ask_find_again(struct arena *a, struct run_control *run, struct error *err) WUR;
/* timeout_s: 0 = ASK_TIMEOUT_S. */
CO int ask_feed(const struct run_control *run, unsigned timeout_s, struct arena *a,
                struct json *ret, struct error *err) WUR;
/* Where the sidecar of app is: dapr_http_port if that is given, the socket in socket_dir, or of the
 * run that has such an app. */
struct ask_where {
    const char *app, *run_name, *socket_dir;
    int64_t http_port;
};
CO int ask_find_sidecar(const struct ask_where *where, struct arena *a, const char **ret_address,
                        struct error *err) WUR;

/* --data or --data-file, whichever is given; neither = empty. */
int ask_data(const char *data, const char *file, struct arena *a, str *ret, struct error *err) WUR;
/* The message of a Dapr error body, or the body itself, cut. */
str ask_error_text(const struct answer *answer, struct arena *a);
