#include <stdio.h>
#include <string.h>

#include "connect.h"

/* Prefixes each line with its rank when several logs are shown; keeps the rest of a line for the
 * next chunk. */
typedef struct line_printer {
    bool prefix;
    int32_t rank; /* of the line that is open */
    bool open;
} line_printer;

static void print_chunk(line_printer *printer, const Reid__V1__LogChunk *chunk)
{
    const char *data = (const char *)chunk->data.data;
    size_t left = chunk->data.len;
    if (printer->open && printer->prefix && printer->rank != chunk->rank)
        putchar('\n');
    if (printer->rank != chunk->rank)
        printer->open = false;
    printer->rank = chunk->rank;
    while (left > 0) {
        const char *end = memchr(data, '\n', left);
        size_t length = end != NULL ? (size_t)(end - data) + 1 : left;
        if (!printer->open && printer->prefix && chunk->rank >= 0)
            printf("[%d] ", chunk->rank);
        else if (!printer->open && printer->prefix)
            fputs("[-] ", stdout);
        fwrite(data, 1, length, stdout);
        printer->open = end == NULL;
        data += length;
        left -= length;
    }
    fflush(stdout);
}

int reidctl_cmd_logs(reidctl *ctl)
{
    reid_error err = {0};
    reid_rpc_client_stream *stream = NULL;
    Reid__V1__LogsRequest request = REID__V1__LOGS_REQUEST__INIT;
    int32_t rank = (int32_t)ctl->args.rank;
    request.id = ctl->words[0];
    request.follow = ctl->args.follow;
    request.tail_lines = ctl->args.tail;
    request.attempt = (int32_t)ctl->args.attempt;
    if (rank >= -1) {
        request.ranks = &rank;
        request.n_ranks = 1;
    }
    reidctl_catch_interrupt();
    if (reidctl_connect(ctl, &err) != REID_OK ||
        reid_rpc_client_start(ctl->client, "/reid.v1.JobService/Logs", &request.base,
                              &reid__v1__log_chunk__descriptor, &stream, &err) != REID_OK)
        return reidctl_report(&err);
    line_printer printer = {.prefix = rank < -1, .rank = -2};
    int code = -1;
    while (code < 0) {
        ProtobufCMessage *message = NULL;
        reid_error_clear(&err);
        reid_status status = reid_rpc_client_next(stream, REIDCTL_SLICE_MS, &message, &err);
        if (status == REID_OK && message != NULL)
            print_chunk(&printer, (const Reid__V1__LogChunk *)message);
        else if (status == REID_OK)
            code = REIDCTL_OK;
        else if (status != REID_ERR_TIMEOUT)
            code = reidctl_report(&err);
        protobuf_c_message_free_unpacked(message, NULL);
        if (code < 0 && (reidctl_interrupted() || ferror(stdout)))
            code = REIDCTL_INTERRUPTED;
    }
    reid_rpc_client_stop(stream);
    return code;
}
