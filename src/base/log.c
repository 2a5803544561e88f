#include "base/log.h"

#include "base/buf.h"
#include "base/clock.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { MAX_SCOPES = 16, LINE_MAX_BYTES = 16 << 10 };

static struct log_config config = { .level = LOG_INFO, .fd = STDOUT_FILENO };
static struct {
    const char *name;
    enum log_level level;
} scopes[MAX_SCOPES];
static size_t n_scopes;

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
    if (n_scopes == MAX_SCOPES)
        return false;
    scopes[n_scopes].name = scope;
    scopes[n_scopes++].level = level;
    return true;
}

bool log_enabled(enum log_level level, const char *scope)
{
    for (size_t i = 0; i < n_scopes; i++)
        if (str_starts(str_c(scope), str_c(scopes[i].name)))
            return level >= scopes[i].level;
    return level >= config.level;
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

static void put_quoted(struct buf *b, str s, bool json)
{
    buf_putc(b, '"');
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c == '"' || c == '\\')
            buf_printf(b, "\\%c", c);
        else if (c == '\n')
            buf_put(b, S("\\n"));
        else if (c == '\t')
            buf_put(b, S("\\t"));
        else if (c == '\r')
            buf_put(b, S("\\r"));
        else if (c < 0x20 || c == 0x7f)
            buf_printf(b, json ? "\\u%04x" : "\\x%02x", c);
        else
            buf_putc(b, (char)c);
    }
    buf_putc(b, '"');
}

static void put_field(struct buf *b, const char *key, str value, bool force_quote)
{
    if (config.json) {
        buf_putc(b, b->len == 1 ? ' ' : ',');
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
        if (n <= 0)
            return; /* nobody reads us: there is no place to say so */
        s = str_skip(s, (size_t)n);
    }
}

static void emit(enum log_level level, const char *scope, const char *const *kv, const char *fmt,
                 va_list args)
{
    char text[4096], time[RFC3339_MAX];
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
    write_line(&b);
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
