/* streams.c — pubsub.redis: a topic is a stream of Redis, a consumerID a consumer group of it, in
 * the contract's layout; processes of one group share its messages. Owner:  the instance owns its
 * client; subscriptions end before it. Thread: publish on any worker; handlers run on all. Failure:
 * as common/redis/redis.h says; a message is acknowledged after its handler's success. */
#include "components/pubsub/redis/streams.h"

static int check(const struct streams *s, struct error *err)
{
    if (!*s->consumer_id)
        return fail(err, INVALID, NULL, "consumerID is required when the app has no id");
    if (s->queue_depth < 1 || s->queue_depth > 100000)
        return fail(err, INVALID, NULL, "queueDepth is not in 1 … 100000");
    if (s->concurrency < 1 || s->concurrency > 10000)
        return fail(err, INVALID, NULL, "concurrency is not in 1 … 10000");
    if (s->redeliver_ns < 0 || s->processing_ns < 0 || s->ttl_ns < 0 || s->max_len < 0)
        return fail(err, INVALID, NULL,
                    "redeliverInterval, processingTimeout, streamTTL and maxLenApprox are not "
                    "below 0");
    return 0;
}

CO static int streams_open(void *self, const struct component_env *env, struct error *err)
{
    struct streams *s = self;
    s->name = env->name;
    if (!*s->consumer_id && env->app_id)
        s->consumer_id = env->app_id;
    int r = check(s, err);
    return r < 0 ? r : redis_open(&s->config, &s->redis, err);
}

CO static void streams_close(void *self)
{
    struct streams *s = self;
    redis_close(TAKE(s->redis));
}

static const struct cfg_field fields[] = {
    REDIS_FIELDS(struct streams, config),
    { .name = "consumerID",
      .kind = CFG_STR,
      .off = offsetof(struct streams, consumer_id),
      .doc = "consumer group, and consumer in it; the app's id" },
    { .name = "redeliverInterval",
      .kind = CFG_DURATION,
      .off = offsetof(struct streams, redeliver_ns),
      .def = "15s",
      .doc = "how often to look for messages that others left, and how long one that failed waits; "
             "0 never" },
    { .name = "processingTimeout",
      .kind = CFG_DURATION,
      .off = offsetof(struct streams, processing_ns),
      .def = "60s",
      .doc = "a message that nobody has prolonged for so long was left; 0 never" },
    { .name = "queueDepth",
      .kind = CFG_INT,
      .off = offsetof(struct streams, queue_depth),
      .def = "100",
      .doc = "messages of a subscription that are taken and not done, at most" },
    { .name = "concurrency",
      .kind = CFG_INT,
      .off = offsetof(struct streams, concurrency),
      .def = "10",
      .doc = "messages of a subscription that are handled at the same time" },
    { .name = "maxLenApprox",
      .kind = CFG_INT,
      .off = offsetof(struct streams, max_len),
      .doc = "about how many entries a stream keeps, handled or not; 0 all" },
    { .name = "streamTTL",
      .kind = CFG_DURATION,
      .off = offsetof(struct streams, ttl_ns),
      .doc = "about how long a stream keeps an entry, handled or not; not beside maxLenApprox" },
};

extern const struct pubsub_ops pubsub_redis;
const struct pubsub_ops pubsub_redis = {
    .t = {
        .kind = "pubsub",
        .type = "pubsub.redis",
        .version = "v1",
        .doc = "Messages in streams of Redis, with consumer groups: at least once.",
        .features = PUBSUB_BULK_PUBLISH,
        .size = sizeof(struct streams),
        .fields = fields,
        .n_fields = COUNT(fields),
        .open = streams_open,
        .close = streams_close,
    },
    .publish = streams_publish,
    .bulk_publish = streams_bulk_publish,
    .subscribe = streams_subscribe,
    .unsubscribe = streams_unsubscribe,
};
