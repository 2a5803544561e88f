/* agent.h — what we say to a Consul agent, or to who speaks its HTTP API, and what it answers.
 * Owner:  the caller's arena.
 * Thread: any; no I/O.   Limits: AGENT_ANSWER_MAX bytes of an answer.
 * Failure: -INVALID an answer that can't be read. */
#pragma once

#include "base/buf.h"
#include "component/kinds.h"

enum { AGENT_ANSWER_MAX = 4 << 20, AGENT_ID_MAX = 400 };

struct agent_service {
    const char *id; /* of the registration */
    const char *app_id, *host, *zone, *region;
    const char *port_key; /* of the internal port in the service's Meta: DAPR_PORT */
    uint16_t app_port, http_port, internal_port;
    const char *tags, *meta, *checks; /* as JSON; "" = none */
    int64_t ttl_s; /* of our own check; 0 = none: then the agent asks for the sidecar's health */
};

/* Body of PUT /v1/agent/service/register. ${APP_ID}, ${HOST_ADDRESS}, ${DAPR_PORT},
 * ${DAPR_HTTP_PORT}, ${APP_PORT} and variables of the environment are replaced in tags, meta and
 * checks. */
void agent_put_service(struct buf *b, const struct agent_service *s);
/* The check that agent_put_service() adds: what PUT /v1/agent/check/pass/… keeps alive. */
str agent_check_id(struct arena *a, const char *id);
/* Answer of GET /v1/health/service/…: instances without the port's key are passed over. */
int agent_read_services(str json, const char *port_key, struct arena *a, struct registration *ret,
                        size_t max, size_t *ret_n) WUR;
/* Text as one segment of a path, or a value of a query. */
void agent_put_escaped(struct buf *b, str text);
