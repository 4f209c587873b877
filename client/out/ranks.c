#include "out/ranks.h"

#include <stdarg.h>

#include "base/compiler.h"
#include "out/json.h"
#include "out/style.h"
#include "out/table.h"
#include "out/text.h"

static void cell(reidctl_table *table, const char *color, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void cell(reidctl_table *table, const char *color, const char *format, ...)
{
    reid_str text = REID_STR_INIT;
    va_list args;
    va_start(args, format);
    reid_str_vaddf(&text, format, args);
    va_end(args);
    reidctl_table_add(table, reid_str_text(&text), color);
    reid_str_fini(&text);
}

static void ms_cell(reidctl_table *table, const Reid__V1__RankProgress *rank, double seconds)
{
    if (rank->step_seconds > 0)
        cell(table, "", "%.1fms", seconds * 1e3);
    else
        cell(table, "", "%s", "");
}

static void rank_row(reidctl_table *table, const Reid__V1__RankProgress *rank,
                     const reidctl_ranks_sight *sight)
{
    cell(table, "", "%d", rank->rank);
    cell(table, "", "%s", rank->node);
    if (rank->pid > 0)
        cell(table, "", "%lld", (long long)rank->pid);
    else
        cell(table, "", "%s", "");
    cell(table, "", "%lld", (long long)rank->iteration);
    ms_cell(table, rank, rank->step_seconds);
    ms_cell(table, rank, rank->data_seconds);
    ms_cell(table, rank, rank->compute_seconds);
    ms_cell(table, rank, rank->wait_seconds);
    reidctl_table_add_age(table, rank->silent_seconds);
    cell(table, *rank->note ? reidctl_bold(sight->color) : "", "%s", rank->note);
}

static void add_line(const char *text, const reidctl_ranks_sight *sight, reid_str *out)
{
    reid_str clean = REID_STR_INIT;
    reidctl_add_clean(&clean, text);
    if (sight->columns > 0)
        reidctl_add_cut(out, reid_str_text(&clean), sight->columns);
    else
        reid_str_add(out, reid_str_text(&clean));
    reid_str_add(out, "\n");
    reid_str_fini(&clean);
}

static void job_lines(const Reid__V1__Job *job, const reidctl_ranks_sight *sight, reid_str *out)
{
    reid_str line = REID_STR_INIT;
    const Reid__V1__Progress *p = job->progress;
    reid_str_addf(&line, "%s (%s): %s", job->name, job->id, reidctl_state_name(job->state));
    if (job->phase != REID__V1__JOB_PHASE__JOB_PHASE_UNSPECIFIED)
        reid_str_addf(&line, ", %s", reidctl_phase_name(job->phase));
    if (p != NULL && p->max_iteration > 0)
        reid_str_addf(&line, "; iteration %lld of %lld", (long long)p->iteration,
                      (long long)p->max_iteration);
    if (p != NULL && p->images_per_second > 0)
        reid_str_addf(&line, "; %.0f images/s", p->images_per_second);
    add_line(reid_str_text(&line), sight, out);
    /* The detail of a job with a slow rank says so, too. */
    if (*job->straggler != '\0')
        add_line(job->straggler, sight, out);
    else if (*reidctl_job_detail(job) != '\0')
        add_line(job->detail, sight, out);
    reid_str_fini(&line);
}

void reidctl_ranks_top(const Reid__V1__Job *job, const reidctl_ranks_sight *sight, reid_str *out)
{
    static const char *const head[] = {"RANK", "NODE",    "PID",  "ITERATION", "STEP",
                                       "DATA", "COMPUTE", "WAIT", "HEARD",     "NOTE"};
    reidctl_table table = {.columns = REID_COUNT_OF(head), .elastic = 9};
    for (size_t i = 0; i < REID_COUNT_OF(head) && sight->headers; i++)
        reidctl_table_add(&table, head[i], reidctl_bold(sight->color));
    for (size_t i = 0; i < job->n_rank_progress; i++)
        rank_row(&table, job->rank_progress[i], sight);
    if (sight->headers)
        job_lines(job, sight, out);
    if (job->n_rank_progress > 0)
        reidctl_table_format(&table, sight->columns, out);
    reidctl_table_fini(&table);
}

/* ---- JSON ---- */

static void put_text(reid_json_writer *w, const char *key, const char *value)
{
    reid_json_key(w, key);
    reid_json_string(w, *value != '\0' ? value : NULL);
}

static void put_int(reid_json_writer *w, const char *key, int64_t value, bool known)
{
    reid_json_key(w, key);
    if (known)
        reid_json_int(w, value);
    else
        reid_json_null(w);
}

static void put_real(reid_json_writer *w, const char *key, double value, bool known)
{
    reid_json_key(w, key);
    if (known)
        reid_json_double(w, value);
    else
        reid_json_null(w);
}

static void put_rank(reid_json_writer *w, const Reid__V1__RankProgress *rank)
{
    bool timed = rank->step_seconds > 0;
    reid_json_object(w);
    put_int(w, "rank", rank->rank, true);
    put_text(w, "node", rank->node);
    put_int(w, "pid", rank->pid, rank->pid > 0);
    put_int(w, "iteration", rank->iteration, true);
    put_real(w, "step_seconds", rank->step_seconds, timed);
    put_real(w, "data_seconds", rank->data_seconds, timed);
    put_real(w, "compute_seconds", rank->compute_seconds, timed);
    put_real(w, "wait_seconds", rank->wait_seconds, timed);
    put_real(w, "silent_seconds", rank->silent_seconds, rank->silent_seconds >= 0);
    put_text(w, "note", rank->note);
    reid_json_end_object(w);
}

void reidctl_ranks_json(const Reid__V1__Job *job, reid_str *out)
{
    reid_json_writer w = reidctl_json_begin(out);
    reid_json_object(&w);
    put_text(&w, "id", job->id);
    put_text(&w, "name", job->name);
    put_text(&w, "state", reidctl_state_name(job->state));
    put_text(&w, "phase", reidctl_phase_name(job->phase));
    put_text(&w, "straggler", job->straggler);
    reid_json_key(&w, "ranks");
    reid_json_array(&w);
    for (size_t i = 0; i < job->n_rank_progress; i++)
        put_rank(&w, job->rank_progress[i]);
    reid_json_end_array(&w);
    reid_json_end_object(&w);
    reid_str_add(out, "\n");
}
