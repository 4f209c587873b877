#include <stdio.h>
#include <string.h>

#include "list.h"
#include "out/json.h"
#include "rows.h"

#define SLICE_MS 200

/* A field as RFC 4180 has it. */
static void add_field(reid_str *out, const char *text)
{
    if (strpbrk(text, ",\"\r\n") == NULL) {
        reid_str_add(out, text);
        return;
    }
    reid_str_add(out, "\"");
    for (; *text != '\0'; text++) {
        if (*text == '"')
            reid_str_add(out, "\"");
        reid_str_add_char(out, *text);
    }
    reid_str_add(out, "\"");
}

static void add_csv(reid_str *out, const Reid__V1__MetricRow *row)
{
    char number[32];
    for (size_t i = 0; i < row->n_scalars; i++) {
        reid_str_addf(out, "%d,%lld,%lld,%d,%lld,", row->attempt, (long long)row->seq,
                      (long long)row->iteration, row->epoch, (long long)row->wall_ms);
        add_field(out, row->scalars[i]->name);
        reid_str_addf(out, ",%s\n", reid_format_double(number, row->scalars[i]->value));
    }
}

static void add_json(reid_str *out, const Reid__V1__MetricRow *row)
{
    reid_json_writer w = reidctl_json_begin(out);
    reidctl_json_row(&w, row);
    reid_str_add(out, "\n");
}

static void print_rows(const Reid__V1__MetricsChunk *chunk, size_t first, bool csv)
{
    reid_str out = REID_STR_INIT;
    for (size_t i = first; i < chunk->n_rows; i++)
        csv ? add_csv(&out, chunk->rows[i]) : add_json(&out, chunk->rows[i]);
    fwrite(reid_str_text(&out), 1, out.length, stdout);
    fflush(stdout);
    reid_str_fini(&out);
}

static int print_stream(reidctl_rows *rows, reidctl_feeds *feeds, bool csv)
{
    reid_error err = {0};
    for (;;) {
        ProtobufCMessage *message = NULL;
        reid_status status = reidctl_feeds_next(feeds, 0, SLICE_MS, &message, &err);
        bool ended = status == REID_OK && message == NULL;
        if (message != NULL) {
            const Reid__V1__MetricsChunk *chunk = (const Reid__V1__MetricsChunk *)message;
            print_rows(chunk, reidctl_rows_take(rows, feeds, 0, chunk), csv);
            protobuf_c_message_free_unpacked(message, NULL);
        }
        if (ended && rows->request.follow)
            status = reidctl_feeds_check_end(feeds, rows->request.id, &ended, &err);
        if (status != REID_OK && status != REID_ERR_TIMEOUT)
            return reidctl_report(&err);
        if (ended)
            return REIDCTL_OK;
        if (reidctl_is_stopped())
            return REIDCTL_INTERRUPTED;
    }
}

static int show(reidctl *ctl, const Reid__V1__Job *job, const reidctl_list *globs)
{
    reid_error err = {0};
    bool csv = reidctl_output_is(ctl, "csv");
    reidctl_feeds feeds;
    reidctl_rows rows;
    reidctl_rows_init(&rows, job->id, ctl->args.follow);
    rows.request.names = globs->parts.items;
    rows.request.n_names = globs->parts.count;
    reidctl_feed feed = reidctl_rows_feed(&rows);
    int code;
    if (reidctl_feeds_init(&feeds, ctl, &feed, 1, &err) != REID_OK) {
        code = reidctl_report(&err);
    } else {
        if (csv)
            puts("attempt,seq,iteration,epoch,wall_ms,name,value");
        code = print_stream(&rows, &feeds, csv);
    }
    reidctl_feeds_fini(&feeds);
    return code;
}

int reidctl_cmd_metrics(reidctl *ctl)
{
    reid_error err = {0};
    Reid__V1__Job *job = NULL;
    reidctl_catch_interrupt();
    if (reidctl_get_job(ctl, ctl->words[0], &job, &err) != REID_OK)
        return reidctl_report(&err);
    reidctl_list globs = reidctl_list_split(ctl->args.names);
    int code = show(ctl, job, &globs);
    reid__v1__job__free_unpacked(job, NULL);
    reidctl_list_fini(&globs);
    return code;
}
