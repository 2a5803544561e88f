/* topics.h — which topics this app may publish to and subscribe to, and how they're named at the
 * broker. Owner:  one per pubsub component, in its instance.   Thread: immutable after the start.
 * Failure: parsing returns -EXHAUSTED only: every text means something. */
#pragma once

#include "component/component.h"

struct topic_set {
    str *v;
    size_t n;
};

struct topics {
    struct topic_set publishing,
        subscribing; /* of this app, from publishingScopes / subscriptionScopes */
    bool publishing_listed, subscribing_listed; /* this app stands in the scopes */
    struct topic_set allowed, protected_;
    str prefix; /* "<namespace>" when the metadata says {namespace}; empty = none */
};

/* metadata: as written (unresolved values matter for "{namespace}": raw tells whether it was
 * there). */
int topics_parse(struct kvs metadata, const char *app_id, const char *namespace_, bool namespaced,
                 struct arena *a, struct topics *ret) WUR;
bool topics_may_publish(const struct topics *t, str topic);
bool topics_may_subscribe(const struct topics *t, str topic);
