/* log.h — one line per event in Dapr's two formats (logrus text or JSON), to stdout or --log-file.
 * Owner:  process-wide settings, made once at start.
 * Thread: any; a line is one write(2), so lines don't mix.   Failure: a lost line is counted, never
 * fatal. */
#pragma once

#include "base/str.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_FATAL };

struct log_config {
    enum log_level level;
    bool json;
    int fd;                                  /* 1 = stdout */
    const char *app_id, *instance, *version; /* borrowed for the life of the process; may be NULL */
};

void log_setup(const struct log_config *config);
bool log_parse_level(str s, enum log_level *ret); /* debug info warn error fatal, any case */
/* A level for one scope and what lies under it ("dapr.runtime" also counts for "dapr.runtime.http",
 * unless that has its own); at most 16 scopes, past them false. scope has static storage. Any
 * thread, at any time. */
bool log_set_scope(const char *scope, enum log_level level);
bool log_enabled(enum log_level level, const char *scope);

/* scope such as "dapr.runtime"; text without a final newline, cut at 4 KiB. */
void log_at(enum log_level level, const char *scope, const char *fmt, ...) PRINTF(3, 4);
/* The same with further fields: key, value, key, value, … as C strings, ended by NULL. */
void log_fields(enum log_level level, const char *scope, const char *const *key_value,
                const char *fmt, ...) PRINTF(4, 5);

#define log_debug(scope, ...) log_at(LOG_DEBUG, scope, __VA_ARGS__)
#define log_info(scope, ...) log_at(LOG_INFO, scope, __VA_ARGS__)
#define log_warn(scope, ...) log_at(LOG_WARN, scope, __VA_ARGS__)
#define log_error(scope, ...) log_at(LOG_ERROR, scope, __VA_ARGS__)

/* Lines that could not be written since the start. */
uint64_t log_lost(void);

/* Rate limit for one call site: true at most once in 'every_ns'; *ret_missed = how many were held
 * back since the last. static struct log_limit l; if (log_allow(&l, SEC(10), &missed)) log_warn(…)
 */
struct log_limit {
    _Atomic uint64_t next_ns, missed;
};
bool log_allow(struct log_limit *l, uint64_t every_ns, uint64_t *ret_missed);
