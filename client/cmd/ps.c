#include <stdio.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "connect.h"
#include "out/json.h"
#include "out/screen.h"
#include "out/style.h"
#include "out/table.h"

static void add_number(reidctl_table *table, int64_t number)
{
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)number);
    reidctl_table_add(table, text, "");
}

static void add_iteration(reidctl_table *table, const Reid__V1__Progress *p)
{
    char text[64] = "";
    if (p != NULL && p->max_iteration > 0)
        snprintf(text, sizeof text, "%lld/%lld", (long long)p->iteration,
                 (long long)p->max_iteration);
    reidctl_table_add(table, text, "");
}

/* Every cell is one word, so that awk and cut find the columns; the last one is not always there.
 */
static void add_row(reidctl_table *table, const Reid__V1__Job *job, int64_t now_ms, bool priority,
                    bool color)
{
    const Reid__V1__Progress *p = job->progress;
    bool ended = reidctl_state_is_final(job->state);
    reidctl_table_add(table, job->id, "");
    reidctl_table_add(table, job->name, "");
    reidctl_table_add(table, job->user, "");
    reidctl_table_add(table, reidctl_state_name(job->state),
                      reidctl_state_color(job->state, color));
    reidctl_table_add(table, ended ? "" : reidctl_phase_name(job->phase), "");
    add_number(table, job->ranks);
    add_iteration(table, p);
    reidctl_table_add_age(table, !ended && p != NULL && p->max_iteration > 0 ? p->eta_seconds : -1);
    int64_t end_ms = ended ? job->ended_ms : now_ms;
    reidctl_table_add_age(table,
                          job->started_ms > 0 ? (double)(end_ms - job->started_ms) / 1000 : -1);
    reidctl_table_add_age(table, (double)(now_ms - job->submitted_ms) / 1000);
    if (priority)
        add_number(table, job->priority);
}

static bool has_priorities(const Reid__V1__ListJobsResponse *list)
{
    for (size_t i = 0; i < list->n_jobs; i++)
        if (list->jobs[i]->priority != 0)
            return true;
    return false;
}

static void print_table(const reidctl *ctl, const Reid__V1__ListJobsResponse *list)
{
    static const char *const head[] = {"ID",        "NAME", "USER",    "STATE", "PHASE",   "RANKS",
                                       "ITERATION", "ETA",  "RUNTIME", "AGE",   "PRIORITY"};
    bool priority = has_priorities(list);
    reidctl_table table = {.columns = REID_COUNT_OF(head) - !priority, .elastic = 1};
    reid_str out = REID_STR_INIT;
    size_t columns = 0, lines;
    if (ctl->terminal)
        reidctl_screen_size(&columns, &lines);
    for (size_t i = 0; i < table.columns && !ctl->args.no_headers; i++)
        reidctl_table_add(&table, head[i], reidctl_bold(ctl->color));
    for (size_t i = 0; i < list->n_jobs; i++)
        add_row(&table, list->jobs[i], reid_clock_wall_ms(), priority, ctl->color);
    reidctl_table_format(&table, columns, &out);
    fputs(reid_str_text(&out), stdout);
    reid_str_fini(&out);
    reidctl_table_fini(&table);
}

/* An array with one job on each line. */
static void print_json(const Reid__V1__ListJobsResponse *list)
{
    reid_str out = REID_STR_INIT;
    for (size_t i = 0; i < list->n_jobs; i++) {
        reid_json_writer w = reidctl_json_begin(&out);
        reid_str_add(&out, i == 0 ? "\n" : ",\n");
        reidctl_json_job(&w, list->jobs[i]);
    }
    printf("[%s%s]\n", reid_str_text(&out), list->n_jobs > 0 ? "\n" : "");
    reid_str_fini(&out);
}

int reidctl_cmd_ps(reidctl *ctl)
{
    Reid__V1__JobState live[] = {
        REID__V1__JOB_STATE__JOB_STATE_PENDING, REID__V1__JOB_STATE__JOB_STATE_STARTING,
        REID__V1__JOB_STATE__JOB_STATE_RUNNING, REID__V1__JOB_STATE__JOB_STATE_PAUSED};
    reid_error err = {0};
    Reid__V1__ListJobsRequest request = REID__V1__LIST_JOBS_REQUEST__INIT;
    request.limit = (int32_t)ctl->args.limit;
    if (!ctl->args.all) {
        request.states = live;
        request.n_states = REID_COUNT_OF(live);
    }
    ProtobufCMessage *answer = NULL;
    if (reidctl_call(ctl, "List", &request.base, &reid__v1__list_jobs_response__descriptor, &answer,
                     &err) != REID_OK)
        return reidctl_report(&err);
    const Reid__V1__ListJobsResponse *list = (const Reid__V1__ListJobsResponse *)answer;
    if (ctl->args.quiet) {
        for (size_t i = 0; i < list->n_jobs; i++)
            puts(list->jobs[i]->id);
    } else if (reidctl_output_is(ctl, "json")) {
        print_json(list);
    } else {
        print_table(ctl, list);
    }
    protobuf_c_message_free_unpacked(answer, NULL);
    return REIDCTL_OK;
}
