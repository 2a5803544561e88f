/* fleet_private.h — what server.c (who gets a call) and client.c (who makes it) share.
 * Owner, thread, failure: as fleet.h. */
#pragma once

#include "test/sim/fleet.h"

enum answer {
    ANSWER_OK,
    ANSWER_FAILED, /* 5xx of the app */
    ANSWER_SHED,   /* by overload control */
    ANSWER_UNSENT, /* nobody takes connections there */
    ANSWER_BROKEN  /* the connection was lost before an answer */
};

struct attempt *attempt_new(struct fleet *f);
void attempt_free(struct fleet *f, struct attempt *a);
/* When something that is sent now between these two arrives. */
uint64_t fleet_arrival(struct fleet *f, uint8_t from, uint8_t to);

void server_receive(struct sim *s, struct event *e); /* of an attempt */
void server_abandon(struct attempt *a);              /* its caller has gone; it may be freed */
void client_answer(struct sim *s, struct event *e);  /* of an attempt */
