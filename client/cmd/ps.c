#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "connect.h"
#include "out/json.h"
#include "out/style.h"

static void add_cell_age(reidctl_table *table, double seconds)
{
    reid_str text = REID_STR_INIT;
    reidctl_add_age(&text, seconds);
    reidctl_table_add(table, reid_str_text(&text));
    reid_str_fini(&text);
}

static void add_row(reidctl_table *table, const Reid__V1__Job *job, int64_t now_ms)
{
    char text[64];
    const Reid__V1__Progress *p = job->progress;
    reidctl_table_add(table, job->id);
    reidctl_table_add(table, job->name);
    reidctl_table_add(table, job->user);
    snprintf(text, sizeof text, "%s%s%s", reidctl_state_name(job->state),
             job->state == REID__V1__JOB_STATE__JOB_STATE_RUNNING && job->phase != 0 ? " " : "",
             job->state == REID__V1__JOB_STATE__JOB_STATE_RUNNING ? reidctl_phase_name(job->phase)
                                                                  : "");
    reidctl_table_add(table, text);
    snprintf(text, sizeof text, "%d", job->ranks);
    reidctl_table_add(table, text);
    snprintf(text, sizeof text, "-");
    if (p != NULL && p->max_iteration > 0)
        snprintf(text, sizeof text, "%lld/%lld", (long long)p->iteration,
                 (long long)p->max_iteration);
    reidctl_table_add(table, text);
    bool ended = reidctl_state_is_final(job->state);
    add_cell_age(table, !ended && p != NULL && p->max_iteration > 0 ? p->eta_seconds : -1);
    int64_t end = ended ? job->ended_ms : now_ms;
    add_cell_age(table, job->started_ms > 0 ? (double)(end - job->started_ms) / 1000 : -1);
    add_cell_age(table, (double)(now_ms - job->submitted_ms) / 1000);
}

static void print_table(const reidctl *ctl, const Reid__V1__ListJobsResponse *list)
{
    static const char *const head[] = {"ID",        "NAME", "USER",    "STATE",    "RANKS",
                                       "ITERATION", "ETA",  "RUNTIME", "SUBMITTED"};
    reidctl_table table = {.columns = sizeof head / sizeof head[0]};
    for (size_t i = 0; i < table.columns; i++)
        reidctl_table_add(&table, head[i]);
    int64_t now = reid_clock_wall_ms();
    for (size_t i = 0; i < list->n_jobs; i++)
        add_row(&table, list->jobs[i], now);
    reidctl_table_print(&table, ctl->args.no_headers);
    reidctl_table_fini(&table);
}

static void print_json(const Reid__V1__ListJobsResponse *list)
{
    reid_str out = REID_STR_INIT;
    reid_str_add(&out, "[");
    for (size_t i = 0; i < list->n_jobs; i++) {
        reid_json_writer w = reid_json_begin(&out);
        w.item_separator = ", ";
        w.key_separator = ": ";
        reid_str_add(&out, i == 0 ? "\n" : ",\n");
        reidctl_json_job(&w, list->jobs[i]);
    }
    reid_str_add(&out, list->n_jobs > 0 ? "\n]" : "]");
    puts(reid_str_text(&out));
    reid_str_fini(&out);
}

int reidctl_cmd_ps(reidctl *ctl)
{
    static Reid__V1__JobState live[] = {REID__V1__JOB_STATE__JOB_STATE_PENDING,
                                        REID__V1__JOB_STATE__JOB_STATE_STARTING,
                                        REID__V1__JOB_STATE__JOB_STATE_RUNNING};
    reid_error err = {0};
    const char *format = ctl->args.output != NULL ? ctl->args.output : "table";
    if (strcmp(format, "table") != 0 && strcmp(format, "json") != 0) {
        reid_fail(&err, REID_ERR_INVALID, "ps: the format is table or json, not '%s'", format);
        return reidctl_report(&err);
    }
    Reid__V1__ListJobsRequest request = REID__V1__LIST_JOBS_REQUEST__INIT;
    request.limit = (int32_t)ctl->args.limit;
    if (!ctl->args.all) {
        request.states = live;
        request.n_states = sizeof live / sizeof live[0];
    }
    ProtobufCMessage *answer = NULL;
    if (reidctl_call(ctl, "List", &request.base, &reid__v1__list_jobs_response__descriptor, &answer,
                     &err) != REID_OK)
        return reidctl_report(&err);
    const Reid__V1__ListJobsResponse *list = (const Reid__V1__ListJobsResponse *)answer;
    if (ctl->args.quiet) {
        for (size_t i = 0; i < list->n_jobs; i++)
            puts(list->jobs[i]->id);
    } else if (strcmp(format, "json") == 0) {
        print_json(list);
    } else {
        print_table(ctl, list);
    }
    protobuf_c_message_free_unpacked(answer, NULL);
    return REIDCTL_OK;
}
