/* plugin.h — a process that serves components on a unix socket, and the components that use it.
 * Owner:  the source owns plugins and their tables; a plug is the head of an instance.
 * Thread: any worker; a plug's state changes by atomics, one fiber at a time initialises it.
 * Limits: PLUGIN_MESSAGE_MAX a message, PLUGIN_CALL_S seconds a call (less by the caller's
 * deadline). Failure: a process that is away is -UNAVAILABLE at once and is used again as soon as
 * its socket is there: one that was started anew is initialised again first. Statuses are errors:
 * status.h. */
#pragma once

#include "base/buf.h"
#include "component/kinds.h"
#include "component/pubsub.h"
#include "component/state.h"
#include "components.pb-c.h"
#include "http/grpc.h"
#include "loop/stream.h"

#include <stdatomic.h>

enum { PLUGIN_MESSAGE_MAX = 64 << 20, PLUGIN_ARENA_MAX = 256 << 20, PLUGIN_CALL_S = 60 };

enum plugin_part {
    PART_STATE = 1,
    PART_QUERY = 2,
    PART_TRANSACT = 4,
    PART_MAX_SIZE = 8,
    PART_PUBSUB = 16,
    PART_INPUT = 32,
    PART_OUTPUT = 64,
    PART_SECRET = 128,
};

struct plugin {
    char address[ADDRESS_MAX]; /* "unix:/path" */
    char name[ADDRESS_MAX];    /* the socket's, without extension */
    unsigned parts;            /* what reflection said */
    struct http_client *client;
    atomic_ullong file; /* which socket file it is: a process that starts makes a new one */
    atomic_uint starts; /* from 1; one more for each process that is found to be a new one */
    /* Its types, as far as it has the parts; what it lacks of one is an empty slot. */
    char type[4][ADDRESS_MAX + 16];
    struct state_ops state;
    struct pubsub_ops pubsub;
    struct binding_ops bindings;
    struct secret_ops secrets;
};

/* Fill the operations: state.c, pubsub.c, bindings.c, secrets.c. */
void plugin_state_table(struct plugin *p);
void plugin_pubsub_table(struct plugin *p);
void plugin_bindings_table(struct plugin *p);
void plugin_secrets_table(struct plugin *p);

/* A feature's name and its bit; ends with a NULL name. */
struct plugin_feature {
    const char *name;
    unsigned bit;
};

struct plug {
    struct plugin *plugin;
    const struct component_env *env;
    unsigned parts; /* which are initialised; PART_… */
    const struct plugin_feature *names;
    atomic_uint features;
    atomic_uint initialised; /* for which of the plugin's starts; 0 = none yet */
    atomic_bool busy;        /* somebody is at it */
};

/* Init and Features (by the names; NULL: there are none) of the plugin's services that parts has.
 */
CO int plug_open(struct plug *p, struct plugin *plugin, unsigned parts,
                 const struct plugin_feature *names, const struct component_env *env,
                 struct error *err) WUR;

/* One message there, one back; reply is unpacked into a. path: "/package.Service/Method". */
CO int plug_call(struct plug *p, str path, const ProtobufCMessage *request,
                 const ProtobufCMessageDescriptor *reply, struct arena *a, void *ret,
                 struct error *err) WUR;
/* A call that both sides stream on, to a process that has been initialised. */
CO int plug_stream(struct plug *p, str path, struct http_call **ret, struct error *err) WUR;
CO int plug_send(struct http_call *call, const ProtobufCMessage *m) WUR;
/* 1 and a message in a, 0 at the end, negative: it isn't one, or the connection broke. */
CO int plug_recv(struct http_call *call, const ProtobufCMessageDescriptor *type, struct arena *a,
                 void *ret) WUR;
/* Why a stream ended: err is filled unless by OK. */
CO int plug_ended(struct plug *p, struct http_call *call, int r, struct error *err) WUR;

/* Asks by server reflection which services are there: .parts, 0 when it has none of ours. */
CO int plugin_discover(struct plugin *p, struct error *err) WUR;

#define PLUGIN_PACKAGE "dapr.proto.components.v1."
#define PLUGIN_PATH(service, method) S("/" PLUGIN_PACKAGE service "/" method)
