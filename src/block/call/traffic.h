/* traffic.h — what Traffic resources mean for one call: the rule, which app of a split gets it,
 * what it is hashed by, where it sticks; and its copies: mirrors and hedges are in copies.h.
 * Owner:  the caller's frame, from traffic_begin() to traffic_end(). The rule is the snapshot's,
 * which the call pins.
 * Thread: the call's fiber.   Failure: none; where nothing is said the defaults count. */
#pragma once

#include "block/app/context.h"
#include "block/core/block.h"
#include "block/core/live.h"
#include "http/message.h"
#include "policy/traffic.h"

struct traffic_call {
    struct live_pin *pin;
    const struct traffic_rule *rule;
    str app_id;      /* who gets it: the app asked for, or one of its split */
    uint64_t key;    /* of consistent hashing; 0 = none */
    uint64_t sticky; /* the wanted instance; 0 = none */
    uint64_t method; /* whose latency it is */
};

/* path: with a slash in front, as the callee gets it, without query; grpc: a gRPC method's full
 * name. */
void traffic_begin(struct traffic_call *c, struct blocks *b, str app_id,
                   const struct http_request *req, str path, bool grpc);
void traffic_end(struct traffic_call *c);
/* Adds to the answer where the next call of this session sticks; chosen: hash of the instance that
 * gave it. Out of memory: it sticks nowhere. */
void traffic_answer(const struct traffic_call *c, uint64_t chosen, struct http_headers *answer);

/* What sidecars say to each other in an answer's headers, or a gRPC answer's trailers
 * (core/headers.h). The utilisation that it reports, or that a refusal tells; -1 = none. */
int traffic_load(const struct http_headers *answer);
/* Whether the one that answers is about to stop. */
bool traffic_draining(const struct http_headers *answer);
/* Takes both out: they are none of the caller's business. */
void traffic_strip(struct http_headers *answer);
/* Whether it was shed there so that another instance may take it. */
bool traffic_was_shed(const struct http_headers *answer);
