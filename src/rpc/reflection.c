/* grpc.reflection.v1.ServerReflection and v1alpha: the same messages under two names, so one set of
 * types serves both. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/str.h"
#include "grpc/reflection/v1/reflection.pb-c.h"
#include "rpc/code.h"
#include "rpc/descriptors.h"
#include "rpc/server_impl.h"

typedef Grpc__Reflection__V1__ServerReflectionRequest reflection_request;
typedef Grpc__Reflection__V1__ServerReflectionResponse reflection_response;
#define ASKED(name) GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_##name
#define ANSWERED(name) GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_##name

typedef struct reid_rpc_reflection {
    reid_rpc_server *server;
    reid_rpc_descriptors *descriptors;
} reid_rpc_reflection;

/* A client that asks and does not read the answers is told so. */
static void send_answer(reid_rpc_call *call, const reflection_request *request,
                        reflection_response *answer)
{
    answer->valid_host = request->host;
    answer->original_request = (reflection_request *)(uintptr_t)request;
    if (reid_rpc_call_send(call, &answer->base) == REID_ERR_EXHAUSTED)
        reid_rpc_call_finish(call, REID_ERR_EXHAUSTED, "the answers are not read fast enough");
}

static void send_error(reid_rpc_call *call, const reflection_request *request, reid_status status,
                       char *own_sentence)
{
    Grpc__Reflection__V1__ErrorResponse error = GRPC__REFLECTION__V1__ERROR_RESPONSE__INIT;
    error.error_code = reid_rpc_code_from_status(status);
    error.error_message = own_sentence;
    reflection_response answer = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT;
    answer.message_response_case = ANSWERED(ERROR_RESPONSE);
    answer.error_response = &error;
    send_answer(call, request, &answer);
    free(own_sentence);
}

/* The file and, each once, everything it imports, nearest first. */
static void send_files(reid_rpc_call *call, const reflection_request *request,
                       const reid_rpc_descriptors *d, int first)
{
    int total = reid_rpc_descriptors_file_count(d);
    int *order = reid_xcalloc((size_t)total, sizeof *order);
    bool *seen = reid_xcalloc((size_t)total, sizeof *seen);
    ProtobufCBinaryData *files = reid_xcalloc((size_t)total, sizeof *files);
    size_t count = 0;
    order[count++] = first;
    seen[first] = true;
    for (size_t i = 0; i < count; i++) {
        size_t size;
        files[i].data = (uint8_t *)(uintptr_t)reid_rpc_descriptors_file(d, order[i], &size);
        files[i].len = size;
        int import;
        for (size_t k = 0;
             (import = reid_rpc_descriptors_import(d, order[i], k)) != REID_RPC_NO_FILE; k++) {
            if (!seen[import])
                order[count++] = import;
            seen[import] = true;
        }
    }
    Grpc__Reflection__V1__FileDescriptorResponse list =
        GRPC__REFLECTION__V1__FILE_DESCRIPTOR_RESPONSE__INIT;
    list.n_file_descriptor_proto = count;
    list.file_descriptor_proto = files;
    reflection_response answer = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT;
    answer.message_response_case = ANSWERED(FILE_DESCRIPTOR_RESPONSE);
    answer.file_descriptor_response = &list;
    send_answer(call, request, &answer);
    free(order);
    free(seen);
    free(files);
}

/* Rows are sorted by path, so the methods of a service stand together. */
static void send_services(reid_rpc_call *call, const reflection_request *request,
                          const reid_rpc_server *server)
{
    typedef Grpc__Reflection__V1__ServiceResponse service_response;
    size_t count = 0, rows = server->rows.count;
    service_response *services = reid_xcalloc(rows, sizeof *services);
    service_response **pointers = reid_xcalloc(rows, sizeof *pointers);
    for (size_t i = 0; i < rows; i++) {
        const char *path = server->rows.items[i].method->path + 1;
        size_t length = strcspn(path, "/");
        const char *before = count > 0 ? services[count - 1].name : "";
        if (strlen(before) == length && strncmp(before, path, length) == 0)
            continue;
        services[count] = (service_response)GRPC__REFLECTION__V1__SERVICE_RESPONSE__INIT;
        services[count].name = reid_xstrndup(path, length);
        pointers[count] = &services[count];
        count++;
    }
    Grpc__Reflection__V1__ListServiceResponse list =
        GRPC__REFLECTION__V1__LIST_SERVICE_RESPONSE__INIT;
    list.n_service = count;
    list.service = pointers;
    reflection_response answer = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT;
    answer.message_response_case = ANSWERED(LIST_SERVICES_RESPONSE);
    answer.list_services_response = &list;
    send_answer(call, request, &answer);
    for (size_t i = 0; i < count; i++)
        free(services[i].name);
    free(services);
    free(pointers);
}

/* proto3 has no extensions but custom options: no type of ours has any numbers to tell. */
static void send_extensions(reid_rpc_call *call, const reflection_request *request,
                            const reid_rpc_descriptors *d)
{
    char *type = request->all_extension_numbers_of_type;
    if (reid_rpc_descriptors_find_symbol(d, type) == REID_RPC_NO_FILE) {
        send_error(call, request, REID_ERR_NOT_FOUND,
                   reid_xasprintf("there is no type '%s' here", type));
        return;
    }
    Grpc__Reflection__V1__ExtensionNumberResponse numbers =
        GRPC__REFLECTION__V1__EXTENSION_NUMBER_RESPONSE__INIT;
    numbers.base_type_name = type;
    reflection_response answer = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT;
    answer.message_response_case = ANSWERED(ALL_EXTENSION_NUMBERS_RESPONSE);
    answer.all_extension_numbers_response = &numbers;
    send_answer(call, request, &answer);
}

static void asked(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    const reflection_request *request = (const reflection_request *)message;
    const reid_rpc_reflection *reflection = service;
    const reid_rpc_descriptors *d = reflection->descriptors;
    int file;
    switch (request->message_request_case) {
    case ASKED(LIST_SERVICES):
        send_services(call, request, reflection->server);
        return;
    case ASKED(FILE_BY_FILENAME):
        file = reid_rpc_descriptors_find_file(d, request->file_by_filename);
        if (file == REID_RPC_NO_FILE)
            send_error(call, request, REID_ERR_NOT_FOUND,
                       reid_xasprintf("there is no file '%s' here", request->file_by_filename));
        else
            send_files(call, request, d, file);
        return;
    case ASKED(FILE_CONTAINING_SYMBOL):
        file = reid_rpc_descriptors_find_symbol(d, request->file_containing_symbol);
        if (file == REID_RPC_NO_FILE)
            send_error(
                call, request, REID_ERR_NOT_FOUND,
                reid_xasprintf("there is no symbol '%s' here", request->file_containing_symbol));
        else
            send_files(call, request, d, file);
        return;
    case ASKED(FILE_CONTAINING_EXTENSION):
        send_error(call, request, REID_ERR_NOT_FOUND, reid_xstrdup("there are no extensions here"));
        return;
    case ASKED(ALL_EXTENSION_NUMBERS_OF_TYPE):
        send_extensions(call, request, d);
        return;
    default:
        send_error(call, request, REID_ERR_INVALID, reid_xstrdup("the request asks for nothing"));
    }
}

#define ROW(version)                                                                               \
    {                                                                                              \
        .path = "/grpc.reflection." version ".ServerReflection/ServerReflectionInfo",              \
        .input = &grpc__reflection__v1__server_reflection_request__descriptor,                     \
        .output = &grpc__reflection__v1__server_reflection_response__descriptor,                   \
        .kind = REID_RPC_BIDI, .max_request_bytes = 4096, .on_message = asked,                     \
    }
static const reid_rpc_method methods[] = {ROW("v1"), ROW("v1alpha")};

reid_status reid_rpc_server_add_reflection(reid_rpc_server *server, const uint8_t *descriptors,
                                           size_t size, reid_error *err)
{
    REID_ASSERT(!server->reflection);
    reid_rpc_descriptors *d;
    REID_TRY(reid_rpc_descriptors_new(descriptors, size, &d, err));
    reid_rpc_reflection *reflection = reid_xcalloc(1, sizeof *reflection);
    reflection->server = server;
    reflection->descriptors = d;
    server->reflection = reflection;
    reid_rpc_server_add_service(server, methods, REID_COUNT_OF(methods), reflection);
    return REID_OK;
}

void reid_rpc_reflection_free(reid_rpc_reflection *reflection)
{
    if (!reflection)
        return;
    reid_rpc_descriptors_free(reflection->descriptors);
    free(reflection);
}
