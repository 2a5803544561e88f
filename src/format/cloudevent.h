/* cloudevent.h — CloudEvents 1.0 as JSON: the envelope that a publish makes and a subscriber gets.
 * Owner:  reads borrow from the message (escaped strings: the caller's arena); builds go to a buf.
 * Thread: any.   Limit: the buf's maximum; CLOUDEVENT_EXTRA_MAX extra fields.
 * Failure: -INVALID with a text that tells the client what to send; -EXHAUSTED past a limit. */
#pragma once

#include "format/json.h"

enum { CLOUDEVENT_EXTRA_MAX = 128 };

struct cloudevent_extra {
    str key, value; /* written as a string */
};

/* What goes into an envelope. Empty fields take the contract's default or are left out. */
struct cloudevent_fields {
    str id, source, time;     /* given by the caller: uuid, app id, RFC 3339 local time */
    str type;                 /* default "com.dapr.event.sent" */
    str specversion;          /* default "1.0" */
    str datacontenttype;      /* default "text/plain" */
    str topic, pubsubname;    /* always written */
    str traceid, traceparent; /* always written, empty too, unless sparse */
    str tracestate;
    str subject, expiration;              /* only when not empty */
    str data;                             /* bytes as they came; placed by datacontenttype */
    const struct cloudevent_extra *extra; /* other attributes; one of a name above is ignored */
    size_t n_extra;
    bool sparse; /* leave out empty time and trace fields: the envelope of a raw payload */
};

/* Appends the envelope: keys sorted, <>& escaped. JSON data that parses is kept byte for byte,
 * other JSON data becomes a string; application/octet-stream and application/cloudevents+protobuf
 * go to data_base64; everything else is a string. Returns 0, -EXHAUSTED (see limits). */
int cloudevent_build(const struct cloudevent_fields *f, struct buf *out) WUR;

/* body is a CloudEvent already (application/cloudevents+json): topic and pubsubname are overwritten
 * from f; id, time, source ("Dapr"), type and specversion filled in where absent or null;
 * traceid and traceparent together when it has no traceid; tracestate when absent; expiration when
 * f has one. All else is kept byte for byte. Keys come out sorted. Returns 0, -INVALID (no JSON
 * object; err says where), -EXHAUSTED. */
int cloudevent_wrap(str body, const struct cloudevent_fields *f, struct arena *a, struct buf *out,
                    struct error *err) WUR;

/* Whether the content type (parameters after ';' don't count, nor case) means … */
bool cloudevent_type_is_json(str content_type);  /* application/json */
bool cloudevent_type_is_event(str content_type); /* application/cloudevents+json */
bool cloudevent_type_is_binary(str content_type);
bool cloudevent_type_is_text(str content_type); /* text/…, application/xml */

/* A message read back. Strings are decoded; absent ones are empty. */
struct cloudevent {
    struct json root; /* the whole object: for routing rules and extensions */
    str id, source, type, specversion, datacontenttype, topic, pubsubname;
    str traceid, traceparent, tracestate, time, subject, expiration;
    struct json data, data_base64; /* JSON_NONE when absent */
};

/* Returns 0, -INVALID (not a JSON object), -EXHAUSTED. */
int cloudevent_read(str message, struct arena *a, struct cloudevent *ret, struct error *err) WUR;
/* The payload as a gRPC app gets it: data_base64 decoded; text content types the string's bytes;
 * JSON content types the JSON text; everything else empty. Returns 0, -INVALID (bad base64),
 * -EXHAUSTED.
 */
int cloudevent_data(const struct cloudevent *ce, struct arena *a, str *ret) WUR;
/* Whether the event has an expiration that lies before now. A malformed one doesn't expire.
 */
bool cloudevent_expired(const struct cloudevent *ce, uint64_t now_wall_ns);
/* Whether a key of the object is an extension for gRPC: not id, source, datacontenttype, type,
 * specversion, data, data_base64. */
bool cloudevent_is_extension(struct json key);
