/* topic_event.h — one cloud event as the message TopicEventRequest, for a gRPC app and for a
 * streaming subscriber, and what the answer's number means. Owner:  everything lives in the arena,
 * or borrows from the event.   Thread: any. Failure: -INVALID data_base64 that isn't base64, or an
 * unknown status; -EXHAUSTED. */
#pragma once

#include "block/app/channel.h"
#include "block/core/proto.h"

/* Strings for protobuf-c; an arena that was full shows in the end. */
struct texts {
    struct arena *a;
    bool failed;
};
char *texts_put(struct texts *t, str s);

struct Dapr__Proto__Runtime__V1__TopicEventRequest;
int topic_event_fill(const struct app_event *e, struct arena *a,
                     struct Dapr__Proto__Runtime__V1__TopicEventRequest *ret, struct error *err)
    WUR;
/* A Struct of what the message's own fields don't say. */
int topic_event_extensions(const struct cloudevent *ce, struct arena *a, ProtobufCBinaryData *ret)
    WUR;
/* status: TopicEventResponseStatus. */
int topic_event_verdict(int status, str id, enum event_verdict *ret, struct error *err) WUR;
