#include "base/log.h"

#include "base/buf.h"
#include "base/clock.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { MAX_SCOPES = 16, TEXT_MAX = 4096, LINE_MAX_BYTES = 64 << 10 };

static struct log_config config = { .level = LOG_INFO, .fd = STDOUT_FILENO };
static struct {
    const char *name;
    _Atomic enum log_level level;
} scopes[MAX_SCOPES];
static atomic_size_t n_scopes; /* grows by one after its entry was written */
static pthread_mutex_t scopes_lock = PTHREAD_MUTEX_INITIALIZER; /* for writers */
static _Atomic uint64_t n_lost;

static const char *const level_name[] = { "debug", "info", "warning", "error", "fatal" };

void log_setup(const struct log_config *c)
{
    config = *c;
}

bool log_parse_level(str s, enum log_level *ret)
{
    static const str name[] = { S("debug"), S("info"), S("warn"), S("error"), S("fatal") };
    for (size_t i = 0; i < COUNT(name); i++)
        if (str_ieq(s, name[i])) {
            *ret = (enum log_level)i;
            return true;
        }
    return false;
}

bool log_set_scope(const char *scope, enum log_level level)
{
    pthread_mutex_lock(&scopes_lock);
    size_t n = atomic_load(&n_scopes), i = 0;
    while (i < n && !str_eq(str_c(scopes[i].name), str_c(scope)))
        i++;
    if (i < MAX_SCOPES) {
        atomic_store(&scopes[i].level, level);
        if (i == n) {
            scopes[i].name = scope;
            atomic_store(&n_scopes, n + 1);
        }
    }
    pthread_mutex_unlock(&scopes_lock);
    return i < MAX_SCOPES;
}

static bool lies_under(str scope, str parent)
{
    return str_starts(scope, parent) && (scope.n == parent.n || scope.p[parent.n] == '.');
}

bool log_enabled(enum log_level level, const char *scope)
{
    enum log_level least = config.level;
    size_t longest = 0, n = atomic_load_explicit(&n_scopes, memory_order_acquire);
    for (size_t i = 0; i < n; i++) {
        str name = str_c(scopes[i].name);
        if (name.n >= longest && lies_under(str_c(scope), name)) {
            longest = name.n;
            least = atomic_load_explicit(&scopes[i].level, memory_order_relaxed);
        }
    }
    return level >= least;
}

uint64_t log_lost(void)
{
    return atomic_load(&n_lost);
}

/* logrus quotes a value that holds anything but letters, digits and -._/@^+ */
static bool bare(str s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!plain && !memchr("-._/@^+", c, 7))
            return false;
    }
    return s.n > 0;
}

/* Length of the UTF-8 sequence at the start, 0 when it isn't one (RFC 3629 section 4). */
static size_t utf8_len(str s)
{
    const unsigned char *p = (const unsigned char *)s.p;
    size_t n = p[0] < 0x80   ? 1
               : p[0] < 0xc2 ? 0
               : p[0] < 0xe0 ? 2
               : p[0] < 0xf0 ? 3
               : p[0] < 0xf5 ? 4
                             : 0;
    if (!n || n > s.n)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xf0 && p[1] < 0x90);
    bool beyond = (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf4 && p[1] > 0x8f);
    return overlong || beyond ? 0 : n;
}

static void put_escaped(struct buf *b, unsigned char c, bool json)
{
    static const char short_form[] = "\"\"\\\\\nn\tt\rr"; /* pairs: character, letter */
    for (const char *p = short_form; *p; p += 2)
        if (*p == (char)c) {
            buf_putc(b, '\\');
            buf_putc(b, p[1]);
            return;
        }
    if (c >= 0x80 && json)
        buf_put(b, S("\\ufffd")); /* JSON can't carry it */
    else
        buf_printf(b, json ? "\\u%04x" : "\\x%02x", c);
}

static void put_quoted(struct buf *b, str s, bool json)
{
    buf_putc(b, '"');
    while (s.n) {
        size_t n = utf8_len(s);
        unsigned char c = (unsigned char)s.p[0];
        if (!n || c < 0x20 || c == '"' || c == '\\' || c == 0x7f) {
            put_escaped(b, c, json);
            n = 1;
        } else {
            buf_put(b, str_take(s, n));
        }
        s = str_skip(s, n);
    }
    buf_putc(b, '"');
}

static void put_field(struct buf *b, const char *key, str value, bool force_quote)
{
    if (config.json) {
        if (b->len > 1)
            buf_putc(b, ',');
        put_quoted(b, str_c(key), true);
        buf_putc(b, ':');
        put_quoted(b, value, true);
        return;
    }
    if (b->len)
        buf_putc(b, ' ');
    buf_put(b, str_c(key));
    buf_putc(b, '=');
    if (force_quote || !bare(value))
        put_quoted(b, value, false);
    else
        buf_put(b, value);
}

static void write_line(struct buf *b)
{
    str s = buf_str(b);
    while (s.n) {
        ssize_t n = write(config.fd, s.p, s.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) { /* nobody reads us: there is no place to say so */
            atomic_fetch_add(&n_lost, 1);
            return;
        }
        s = str_skip(s, (size_t)n);
    }
}

static void emit(enum log_level level, const char *scope, const char *const *kv, const char *fmt,
                 va_list args)
{
    char text[TEXT_MAX], time[RFC3339_MAX];
    int n = vsnprintf(text, sizeof text, fmt, args);
    size_t len = n < 0 ? 0 : min_size((size_t)n, sizeof text - 1);
    clock_rfc3339(clock_wall_ns(), false, 9, time);

    AUTO(buf_done) struct buf b;
    buf_init(&b, LINE_MAX_BYTES);
    if (config.json)
        buf_putc(&b, '{');
    put_field(&b, "time", str_c(time), true);
    put_field(&b, "level", str_c(level_name[level]), false);
    put_field(&b, "msg", str_of(text, len), true);
    if (config.app_id)
        put_field(&b, "app_id", str_c(config.app_id), false);
    for (; kv && *kv; kv += 2)
        put_field(&b, kv[0], str_c(kv[1]), false);
    if (config.instance)
        put_field(&b, "instance", str_c(config.instance), false);
    put_field(&b, "scope", str_c(scope), false);
    put_field(&b, "type", S("log"), false);
    if (config.version)
        put_field(&b, "ver", str_c(config.version), false);
    buf_put(&b, config.json ? S("}\n") : S("\n"));
    if (buf_ok(&b))
        write_line(&b);
    else /* out of memory, or fields without measure: half a line would garble the next */
        atomic_fetch_add(&n_lost, 1);
}

void log_at(enum log_level level, const char *scope, const char *fmt, ...)
{
    if (!log_enabled(level, scope))
        return;
    va_list args;
    va_start(args, fmt);
    emit(level, scope, NULL, fmt, args);
    va_end(args);
}

void log_fields(enum log_level level, const char *scope, const char *const *key_value,
                const char *fmt, ...)
{
    if (!log_enabled(level, scope))
        return;
    va_list args;
    va_start(args, fmt);
    emit(level, scope, key_value, fmt, args);
    va_end(args);
}

bool log_allow(struct log_limit *l, uint64_t every_ns, uint64_t *ret_missed)
{
    uint64_t now = clock_now_ns(), next = atomic_load(&l->next_ns);
    if (now < next || !atomic_compare_exchange_strong(&l->next_ns, &next, now + every_ns)) {
        atomic_fetch_add(&l->missed, 1);
        return false;
    }
    *ret_missed = atomic_exchange(&l->missed, 0);
    return true;
}

_Noreturn void assert_failed(const char *kind, const char *expr, const char *file, int line)
{
    fprintf(stderr, "%s:%d: %s failed: %s\n", file, line, kind, expr);
    abort();
}
