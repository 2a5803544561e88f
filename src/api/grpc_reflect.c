#include "api/grpc_reflect.h"

#include "api/grpc_call.h"
#include "http/grpc.h"
#include "reflection.pb-c.h"

enum { REQUEST_MAX = 64 << 10, ARENA_MAX = 1 << 20, FILES_MAX = 32 };

static const char V1[] = "grpc.reflection.v1.ServerReflection";
static const char HEALTH[] = "grpc.health.v1.Health"; /* on the API port alone */
static const char V1ALPHA[] = "grpc.reflection.v1alpha.ServerReflection";

typedef Grpc__Reflection__V1__ServerReflectionRequest reflection_request;
typedef Grpc__Reflection__V1__ServerReflectionResponse reflection_response;
typedef Grpc__Reflection__V1__FileDescriptorResponse files_response;
typedef Grpc__Reflection__V1__ListServiceResponse list_response;
typedef Grpc__Reflection__V1__ServiceResponse service_response;
typedef Grpc__Reflection__V1__ErrorResponse error_response;

#define PB(message) &grpc__reflection__v1__##message##__descriptor

bool reflect_serves(str service)
{
    return str_eq(service, str_c(V1)) || str_eq(service, str_c(V1ALPHA));
}

static int put_error(struct arena *a, reflection_response *out, enum code code, const char *text)
{
    error_response *e = pb_new(a, PB(error_response));
    if (!e)
        return -EXHAUSTED;
    e->error_code = (int32_t)code;
    e->error_message = (char *)text;
    out->message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ERROR_RESPONSE;
    out->error_response = e;
    return 0;
}

/* The file, and whatever it imports, each once. */
static void add_file(files_response *f, bool *seen, int i)
{
    if (seen[i])
        return;
    seen[i] = true;
    f->file_descriptor_proto[f->n_file_descriptor_proto++] =
        pb_data(str_of(reflect_files[i].data, reflect_files[i].len));
    for (const int *n = reflect_files[i].needs; *n >= 0; n++)
        add_file(f, seen, *n);
}

static int put_file(struct arena *a, reflection_response *out, int i)
{
    if (i < 0)
        return put_error(a, out, NOT_FOUND, "no such file or symbol");
    bool seen[FILES_MAX] = { 0 };
    PRE(reflect_n_files <= FILES_MAX);
    files_response *f = pb_new(a, PB(file_descriptor_response));
    if (!f || !(f->file_descriptor_proto =
                    arena_alloc(a, reflect_n_files * sizeof *f->file_descriptor_proto)))
        return -EXHAUSTED;
    add_file(f, seen, i);
    out->message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_FILE_DESCRIPTOR_RESPONSE;
    out->file_descriptor_response = f;
    return 0;
}

static int find_file(str name)
{
    for (size_t i = 0; i < reflect_n_files; i++)
        if (str_eq(name, str_c(reflect_files[i].name)))
            return (int)i;
    return -1;
}

static int find_symbol(str name)
{
    size_t lo = 0, hi = reflect_n_symbols;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int c = str_cmp(name, str_c(reflect_symbols[mid].name));
        if (c == 0)
            return reflect_symbols[mid].file;
        if (c > 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return -1;
}

static int put_services(struct arena *a, reflection_response *out, const char *own)
{
    const char *const names[] = { own, V1, V1ALPHA, HEALTH };
    size_t n = str_eq(str_c(own), S(DAPR_SERVICE)) ? COUNT(names) : COUNT(names) - 1;
    list_response *l = pb_new(a, PB(list_service_response));
    if (!l || !(l->service = arena_alloc(a, COUNT(names) * sizeof *l->service)))
        return -EXHAUSTED;
    for (size_t i = 0; i < n; i++) {
        service_response *s = l->service[l->n_service++] = pb_new(a, PB(service_response));
        if (!s)
            return -EXHAUSTED;
        s->name = (char *)names[i];
    }
    out->message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_LIST_SERVICES_RESPONSE;
    out->list_services_response = l;
    return 0;
}

static int put_answer(struct arena *a, const reflection_request *q, reflection_response *out,
                      const char *own)
{
    switch (q->message_request_case) {
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES:
        return put_services(a, out, own);
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_BY_FILENAME:
        return put_file(a, out, find_file(pb_str(q->file_by_filename)));
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL:
        return put_file(a, out, find_symbol(pb_str(q->file_containing_symbol)));
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST__NOT_SET:
        return put_error(a, out, INVALID, "the request asks for nothing");
    default:
        return put_error(a, out, NOT_FOUND, "there are no extensions");
    }
}

int reflect_answer(str request, const char *own, struct arena *a, str *ret)
{
    void *q;
    struct error err = { 0 };
    int r = pb_decode(a, PB(server_reflection_request), request, &q, &err);
    if (r < 0)
        return -INVALID;
    reflection_response *out = pb_new(a, PB(server_reflection_response));
    if (!out)
        return -EXHAUSTED;
    out->valid_host = ((reflection_request *)q)->host;
    out->original_request = q;
    r = put_answer(a, q, out, own);
    return r < 0 ? r : pb_encode(a, &out->base, ret);
}

CO int reflect_run(struct http_exchange *x, const char *own, struct error *err)
{
    struct arena a;
    str request, answer;
    int r;
    arena_init(&a, ARENA_MAX);
    while ((r = grpc_recv(x, REQUEST_MAX, &request)) > 0) {
        arena_reset(&a);
        r = reflect_answer(request, own, &a, &answer);
        if (r >= 0)
            r = grpc_send(x, answer);
        if (r < 0)
            break;
    }
    arena_done(&a);
    return r < 0 ? fail(err, (enum code) - r, NULL, "no reflection request could be read") : 0;
}
