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

int fail_wrap(struct error *err, const char *fmt, ...)
{
    PRE(err && err->code);
    char old[sizeof err->text];
    memcpy(old, err->text, sizeof old);
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(err->text, sizeof err->text, fmt, args);
    va_end(args);
    if (n >= 0 && (size_t)n < sizeof err->text)
        snprintf(err->text + n, sizeof err->text - (size_t)n, ": %s", old);
    return -(int)err->code;
}
