#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/vec.h"
#include "connect.h"
#include "out/json.h"

typedef REID_VEC(char *) glob_list;

/* "loss*,lr" → its parts, which point into `text`. */
static void split_globs(char *text, glob_list *ret_globs)
{
    for (char *part = strtok(text, ","); part != NULL; part = strtok(NULL, ","))
        reid_vec_push(ret_globs, part);
}

static void print_csv(const Reid__V1__MetricRow *row)
{
    for (size_t i = 0; i < row->n_scalars; i++) {
        char number[32];
        bool quote = strpbrk(row->scalars[i]->name, ",\"\n") != NULL;
        printf("%d,%lld,%lld,%d,%lld,%s%s%s,%s\n", row->attempt, (long long)row->seq,
               (long long)row->iteration, row->epoch, (long long)row->wall_ms, quote ? "\"" : "",
               row->scalars[i]->name, quote ? "\"" : "",
               reid_format_double(number, row->scalars[i]->value));
    }
}

static void print_json(const Reid__V1__MetricRow *row)
{
    reid_str out = REID_STR_INIT;
    reid_json_writer w = reid_json_begin(&out);
    w.item_separator = ", ";
    w.key_separator = ": ";
    reidctl_json_row(&w, row);
    puts(reid_str_text(&out));
    reid_str_fini(&out);
}

/* Prints everything from the cursor on; on a lost connection with --follow it could be called again
 * from there. */
static int print_stream(reidctl *ctl, reid_rpc_client_stream *stream, bool csv)
{
    int code = -1;
    while (code < 0) {
        ProtobufCMessage *message = NULL;
        reid_error err = {0};
        reid_status status = reid_rpc_client_next(stream, REIDCTL_SLICE_MS, &message, &err);
        if (status == REID_OK && message != NULL) {
            const Reid__V1__MetricsChunk *chunk = (const Reid__V1__MetricsChunk *)message;
            for (size_t i = 0; i < chunk->n_rows; i++)
                csv ? print_csv(chunk->rows[i]) : print_json(chunk->rows[i]);
            if (chunk->missed > 0)
                fprintf(stderr, "reidctl: %lld rows were left out, this reader was too slow\n",
                        (long long)chunk->missed);
            fflush(stdout);
        } else if (status == REID_OK) {
            code = REIDCTL_OK;
        } else if (status != REID_ERR_TIMEOUT) {
            code = reidctl_report(&err);
        }
        protobuf_c_message_free_unpacked(message, NULL);
        if (code < 0 && (reidctl_interrupted() || ferror(stdout)))
            code = REIDCTL_INTERRUPTED;
    }
    return code;
}

int reidctl_cmd_metrics(reidctl *ctl)
{
    reid_error err = {0};
    reid_rpc_client_stream *stream = NULL;
    const char *format = ctl->args.output != NULL ? ctl->args.output : "jsonl";
    bool csv = strcmp(format, "csv") == 0;
    if (!csv && strcmp(format, "jsonl") != 0 && strcmp(format, "json") != 0) {
        reid_fail(&err, REID_ERR_INVALID, "metrics: the format is jsonl or csv, not '%s'", format);
        return reidctl_report(&err);
    }
    char *text = reid_xstrdup(ctl->args.names != NULL ? ctl->args.names : "");
    glob_list globs = {0};
    split_globs(text, &globs);
    Reid__V1__MetricsRequest request = REID__V1__METRICS_REQUEST__INIT;
    request.id = ctl->words[0];
    request.follow = ctl->args.follow;
    request.names = globs.items;
    request.n_names = globs.count;
    reidctl_catch_interrupt();
    int code;
    if (reidctl_connect(ctl, &err) != REID_OK ||
        reid_rpc_client_start(ctl->client, "/reid.v1.JobService/Metrics", &request.base,
                              &reid__v1__metrics_chunk__descriptor, &stream, &err) != REID_OK) {
        code = reidctl_report(&err);
    } else {
        if (csv)
            puts("attempt,seq,iteration,epoch,wall_ms,name,value");
        code = print_stream(ctl, stream, csv);
    }
    reid_rpc_client_stop(stream);
    reid_vec_fini(&globs);
    free(text);
    return code;
}
