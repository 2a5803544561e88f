#include "fake_loop.h"

#include "base/mem.h"
#include "fuzz.h"
#include "loop/tls.h"

struct stream {
    struct fake_peer *peer;
    void (*on_readable)(void *arg, bool timed_out);
    void *readable_arg;
    size_t at;
    bool paused; /* the present step was read: nothing there until the next turn */
};

struct listener {
    accept_fn *on_accept;
    void *arg;
};

static struct fake_peer *peer;
static struct stream *open_stream;
static struct listener the_listener;
static struct sched *sched;
static struct mail *inbox;
static uint64_t now;

static uint64_t fake_now(void *ctx)
{
    (void)ctx;
    return now;
}

void fake_reset(struct fake_peer *p)
{
    if (!sched) {
        struct sched_config config = { .max_fibers = 1000,
                                       .stack_size = KIB(256),
                                       .now = fake_now };
        sched = sched_new(&config);
        FUZZ_CHECK(sched);
        sched_enter(sched);
    }
    FUZZ_CHECK(!open_stream && !inbox && !sched_count(sched));
    peer = p;
}

/* ---- workers ---- */

size_t workers_count(void)
{
    return 1;
}

struct worker *worker_at(size_t i)
{
    FUZZ_CHECK(i == 0);
    return (struct worker *)&sched;
}

struct worker *worker_self(void)
{
    return (struct worker *)&sched;
}

size_t worker_index(const struct worker *w)
{
    (void)w;
    return 0;
}

void worker_post(struct worker *w, struct mail *m)
{
    (void)w;
    m->next = inbox;
    inbox = m;
}

int worker_run(struct worker *w, const char *name, fiber_fn *fn, void *arg)
{
    (void)w;
    FUZZ_CHECK(fiber_spawn(name, fn, arg));
    fake_run();
    return 0;
}

static void read_mail(void)
{
    while (inbox) {
        struct mail *m = inbox;
        inbox = m->next;
        m->run(m);
    }
}

static bool fire_readable(void)
{
    struct stream *s = open_stream;
    if (!s || !s->on_readable)
        return false;
    void (*fn)(void *, bool) = s->on_readable;
    s->on_readable = NULL;
    s->paused = false;
    fn(s->readable_arg, false);
    return true;
}

void fake_run(void)
{
    for (;;) {
        read_mail();
        uint64_t next = sched_run(sched);
        if (inbox || !next || fire_readable())
            continue;
        if (next == UINT64_MAX)
            break;
        now += next;
    }
    FUZZ_CHECK(!sched_count(sched)); /* whoever is left waits for ever */
}

/* ---- streams ---- */

static struct stream *new_stream(void)
{
    FUZZ_CHECK(!open_stream);
    open_stream = mem_zalloc(sizeof *open_stream);
    FUZZ_CHECK(open_stream);
    open_stream->peer = peer;
    return open_stream;
}

int stream_dial(const char *address, struct stream **ret, struct error *err)
{
    if (open_stream || peer->closed) /* one connection an input */
        return fail(err, UNAVAILABLE, NULL, "%s: refused", address);
    *ret = new_stream();
    return 0;
}

int stream_dial_tls(const char *address, struct tls_context *c, const char *server_name,
                    struct stream **ret, struct error *err)
{
    (void)server_name;
    FUZZ_CHECK(!c);
    return stream_dial(address, ret, err);
}

int stream_accept_tls(struct stream *s, struct tls_context *c, struct error *err)
{
    (void)s, (void)c;
    return fail(err, UNAVAILABLE, NULL, "no TLS here");
}

int tls_context_new(const struct tls_options *o, struct tls_context **ret, struct error *err)
{
    (void)o, (void)ret;
    return fail(err, UNIMPLEMENTED, NULL, "no TLS here");
}

struct tls_context *tls_context_ref(struct tls_context *c)
{
    return c;
}

void tls_context_unref(struct tls_context *c)
{
    FUZZ_CHECK(!c);
}

str stream_peer_id(const struct stream *s)
{
    (void)s;
    return S("");
}

const char *stream_tls_failure(const struct stream *s)
{
    (void)s;
    return NULL;
}

void stream_close(struct stream *s)
{
    FUZZ_CHECK(s == open_stream);
    s->peer->closed = true;
    open_stream = NULL;
    mem_free(s);
}

void stream_reset(struct stream *s)
{
    stream_close(s);
}

ssize_t stream_try_read(struct stream *s, void *p, size_t n)
{
    FUZZ_CHECK(n);
    if (s->paused)
        return -ABORTED;
    str rest = str_skip(s->peer->in, s->at);
    size_t take = min_size(n, s->peer->step ? min_size(s->peer->step, rest.n) : rest.n);
    if (take)
        memcpy(p, rest.p, take);
    s->at += take;
    s->paused = take > 0;
    return (ssize_t)take;
}

ssize_t stream_read(struct stream *s, void *p, size_t n)
{
    if (s->paused) {
        int r = fiber_sleep(1);
        if (r < 0)
            return r;
        s->paused = false;
    }
    return stream_try_read(s, p, n);
}

ssize_t stream_try_writev(struct stream *s, const struct iovec *iov, size_t n_iov)
{
    size_t n = 0;
    for (size_t i = 0; i < n_iov; i++)
        n += iov[i].iov_len;
    if (s->peer->room)
        n = min_size(n, s->peer->room);
    s->peer->n_out += n;
    return (ssize_t)n;
}

int stream_writev(struct stream *s, struct iovec *iov, size_t n_iov)
{
    for (size_t i = 0; i < n_iov; i++)
        s->peer->n_out += iov[i].iov_len;
    return s->peer->room ? fiber_sleep(1) : 0;
}

int stream_write(struct stream *s, str data)
{
    struct iovec iov = { (void *)data.p, data.n };
    return stream_writev(s, &iov, 1);
}

int stream_shutdown(struct stream *s)
{
    (void)s;
    return 0;
}

void stream_on_readable(struct stream *s, uint64_t idle_ns, void (*fn)(void *arg, bool timed_out),
                        void *arg)
{
    (void)idle_ns;
    FUZZ_CHECK(!s->on_readable && fn);
    s->on_readable = fn;
    s->readable_arg = arg;
}

bool stream_off_readable(struct stream *s)
{
    bool was = s->on_readable;
    s->on_readable = NULL;
    return was;
}

void stream_on_hangup(struct stream *s, void (*fn)(void *arg), void *arg)
{
    (void)s, (void)fn, (void)arg;
}

const char *stream_peer(const struct stream *s)
{
    (void)s;
    return "192.0.2.1:1";
}

const char *stream_local(const struct stream *s)
{
    (void)s;
    return "192.0.2.2:2";
}

/* ---- listening ---- */

int listener_open(const char *address, accept_fn *on_accept, void *arg, struct listener **ret,
                  struct error *err)
{
    (void)address, (void)err;
    the_listener = (struct listener){ on_accept, arg };
    *ret = &the_listener;
    return 0;
}

void listener_close(struct listener *l)
{
    (void)l;
}

const char *listener_address(const struct listener *l)
{
    (void)l;
    return "192.0.2.2:2";
}

uint16_t listener_port(const struct listener *l)
{
    (void)l;
    return 2;
}

void fake_accept(void)
{
    the_listener.on_accept(the_listener.arg, new_stream());
}
