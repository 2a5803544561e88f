#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>

const char *code_name(enum code code)
{
    static const char *const name[] = {
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    };
    return (size_t)code < COUNT(name) ? name[code] : "UNKNOWN";
}

const char *code_go_name(enum code code)
{
    static const char *const name[] = {
        "OK",
        "Canceled",
        "Unknown",
        "InvalidArgument",
        "DeadlineExceeded",
        "NotFound",
        "AlreadyExists",
        "PermissionDenied",
        "ResourceExhausted",
        "FailedPrecondition",
        "Aborted",
        "OutOfRange",
        "Unimplemented",
        "Internal",
        "Unavailable",
        "DataLoss",
        "Unauthenticated",
    };
    return (size_t)code < COUNT(name) ? name[code] : "Unknown";
}

static void set(struct error *err, enum code code, const char *tag, const char *fmt, va_list args)
{
    *err = (struct error){ .code = code, .tag = tag };
    vsnprintf(err->text, sizeof err->text, fmt, args);
}

int fail(struct error *err, enum code code, const char *tag, const char *fmt, ...)
{
    PRE(code != OK);
    if (!err || err->code)
        return -(int)code;
    va_list args;
    va_start(args, fmt);
    set(err, code, tag, fmt, args);
    va_end(args);
    return -(int)code;
}

int fail_as(struct error *err, enum code code, const char *tag, const char *fmt, ...)
{
    PRE(code != OK);
    if (!err)
        return -(int)code;
    va_list args;
    va_start(args, fmt);
    char text[sizeof err->text];
    vsnprintf(text, sizeof text, fmt, args); /* the arguments may point into the old text */
    va_end(args);
    *err = (struct error){ .code = code, .tag = tag };
    memcpy(err->text, text, sizeof text);
    return -(int)code;
}

/* Cuts what doesn't fit; returns the length without the NUL. */
static size_t put_text(char *to, size_t size, str s)
{
    size_t n = min_size(s.n, size - 1);
    if (n)
        memcpy(to, s.p, n);
    to[n] = 0;
    return n;
}

int fail_wrap(struct error *err, const char *fmt, ...)
{
    if (!err)
        return -UNKNOWN;
    PRE(err->code);
    char old[sizeof err->text];
    memcpy(old, err->text, sizeof old);
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(err->text, sizeof err->text, fmt, args);
    va_end(args);
    size_t at = n < 0 ? 0 : min_size((size_t)n, sizeof err->text - 1);
    at += put_text(err->text + at, sizeof err->text - at, S(": "));
    (void)put_text(err->text + at, sizeof err->text - at, str_c(old));
    return -(int)err->code;
}

void fail_own(struct error *err, const struct error *cause)
{
    if (!err || !cause->own)
        return;
    size_t n = strlen(err->text), words = strlen(cause->text) - cause->own_at;
    err->own = true;
    err->code = cause->code;
    err->http = cause->http;
    err->own_at = n > words ? (uint16_t)(n - words) : 0; /* a text that was cut is shown whole */
    if (!str_eq(str_c(err->text + err->own_at), str_c(cause->text + cause->own_at)))
        err->own_at = 0;
    memcpy(err->own_reason, cause->own_reason, sizeof err->own_reason);
    memcpy(err->own_domain, cause->own_domain, sizeof err->own_domain);
    memcpy(err->own_tag, cause->own_tag, sizeof err->own_tag);
}

void fail_reason(struct error *err, const char *reason, const char *resource_type, str resource)
{
    if (!err)
        return;
    err->reason = reason;
    (void)put_text(err->resource_type, sizeof err->resource_type, str_c(resource_type));
    (void)put_text(err->resource, sizeof err->resource, resource);
}

void fail_meta(struct error *err, const char *key, str value)
{
    for (size_t i = 0; err && i < COUNT(err->meta_key); i++)
        if (!err->meta_key[i]) {
            err->meta_key[i] = key;
            (void)put_text(err->meta[i], sizeof err->meta[i], value);
            return;
        }
}

int code_http_status(enum code code)
{
    static const int status[] = { 200, 408, 500, 400, 504, 404, 409, 403, 429,
                                  400, 409, 400, 501, 500, 503, 500, 401 };
    return (size_t)code < COUNT(status) ? status[code] : 500;
}

enum code code_of_http_status(int status)
{
    static const struct {
        int http;
        enum code code;
    } row[] = {
        { 408, CANCELLED }, { 500, UNKNOWN },       { 400, INTERNAL },    { 504, TIMEOUT },
        { 404, NOT_FOUND }, { 409, EXISTS },        { 403, DENIED },      { 401, UNAUTHENTICATED },
        { 429, EXHAUSTED }, { 501, UNIMPLEMENTED }, { 503, UNAVAILABLE },
    };
    if (status >= 200 && status <= 299)
        return OK;
    for (size_t i = 0; i < COUNT(row); i++)
        if (row[i].http == status)
            return row[i].code;
    return UNKNOWN;
}
