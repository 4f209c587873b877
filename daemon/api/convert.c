#include "daemon/api/convert.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/str.h"
#include "base/utf8.h"
#include "base/vec.h"
#include "rpc/text.h"
#include "rpc/unpack.h"

#define ROW_SCALARS 4096
#define NAME_BYTES 256

/* Stored and sent as numbers: they must be the same ones. */
_Static_assert((int)REIDD_PENDING == REID__V1__JOB_STATE__JOB_STATE_PENDING &&
                   (int)REIDD_PAUSED == REID__V1__JOB_STATE__JOB_STATE_PAUSED,
               "states");
_Static_assert((int)REIDD_LOADING == REID__V1__JOB_PHASE__JOB_PHASE_LOADING &&
                   (int)REIDD_SAVING == REID__V1__JOB_PHASE__JOB_PHASE_SAVING,
               "phases");

char *reidd_convert_text(const char *text)
{
    return reid_utf8_clean(text);
}

static Reid__V1__Progress *convert_progress(const reidd_progress *progress)
{
    Reid__V1__Progress *message = reid_xmalloc(sizeof *message);
    reid__v1__progress__init(message);
    message->iteration = progress->iteration;
    message->max_iteration = progress->max_iteration;
    message->epoch = progress->epoch;
    message->max_epoch = progress->max_epoch;
    message->eta_seconds = progress->eta_s;
    message->images_per_second = progress->images_per_s;
    return message;
}

static Reid__V1__Failure *convert_failure(const reidd_failure *failure)
{
    Reid__V1__Failure *message = reid_xmalloc(sizeof *message);
    reid__v1__failure__init(message);
    message->sentence = reidd_convert_text(failure->sentence);
    message->rank = failure->rank;
    message->exit_code = failure->exit_code;
    message->signal = failure->signal;
    return message;
}

/* The last one of "4,3"; 0 without any. */
static int32_t least_of(const char *fewer)
{
    int64_t number = 0;
    const char *comma = fewer ? strrchr(fewer, ',') : NULL;
    if (fewer)
        reid_parse_int64(comma ? comma + 1 : fewer, &number);
    return (int32_t)number;
}

Reid__V1__Job *reidd_convert_job(const reidd_job_view *view)
{
    const reidd_job *job = &view->job;
    Reid__V1__Job *message = reid_xmalloc(sizeof *message);
    reid__v1__job__init(message);
    message->id = reid_xstrdup(job->id);
    message->name = reidd_convert_text(job->name);
    message->user = reidd_convert_text(job->user);
    message->state = (Reid__V1__JobState)job->state;
    message->phase = (Reid__V1__JobPhase)job->phase;
    message->ranks = job->ranks;
    message->attempt = job->attempt;
    message->submitted_ms = job->submitted_ms;
    message->started_ms = job->started_ms;
    message->ended_ms = job->ended_ms;
    message->progress = convert_progress(&job->progress);
    if (job->state == REIDD_FAILED)
        message->failure = convert_failure(&job->failure);
    message->output_dir = reidd_convert_text(job->output_dir);
    message->queue_position = view->queue_position;
    message->exit_code = job->exit_code;
    message->detail = reidd_convert_text(view->detail);
    message->last_progress_ms = job->last_progress_ms;
    message->restarts = job->restart.done;
    message->max_restarts = job->restart.allowed;
    message->restart_backoff_seconds = (double)job->restart.backoff_ms / 1000.0;
    message->priority = job->wishes.priority;
    message->after = reidd_convert_text(job->wishes.after);
    message->max_time_seconds = (double)job->wishes.max_time_ms / 1000.0;
    message->gpu_type = reidd_convert_text(job->wishes.gpu_type);
    message->held = job->wishes.held;
    message->no_preempt = job->wishes.no_preempt;
    message->placement = reidd_convert_text(job->placement);
    message->ran_seconds = (double)job->ran_ms / 1000.0;
    message->preemptions = job->preemptions;
    message->start_by_ms = view->start_by_ms;
    message->wanted_ranks = job->wishes.ranks ? job->wishes.ranks : job->ranks;
    message->min_ranks = least_of(job->wishes.fewer);
    return message;
}

typedef REID_VEC(Reid__V1__Scalar *) scalar_list;

static void add_scalar(const char *name, double value, void *user)
{
    scalar_list *list = user;
    Reid__V1__Scalar *scalar = reid_xmalloc(sizeof *scalar);
    reid__v1__scalar__init(scalar);
    scalar->name = reidd_convert_text(name);
    scalar->value = value;
    reid_vec_push(list, scalar);
}

void reidd_convert_add_latest(reidd_api *api, Reid__V1__Job *job)
{
    scalar_list list = {0};
    reidd_manager_latest(api->manager, job->id, add_scalar, &list, NULL);
    job->n_latest = list.count;
    job->latest = list.items;
}

void reidd_convert_add_config(reidd_api *api, Reid__V1__Job *job)
{
    char *yaml = NULL;
    if (reidd_manager_config(api->manager, job->id, &yaml, NULL) != REID_OK)
        return;
    job->config_yaml = reidd_convert_text(yaml);
    free(yaml);
}

typedef REID_VEC(Reid__V1__RankProgress *) rank_list;

static void add_rank(int number, const reidd_rank *rank, double silent_s, const char *note,
                     void *user)
{
    rank_list *list = user;
    Reid__V1__RankProgress *message = reid_xmalloc(sizeof *message);
    reid__v1__rank_progress__init(message);
    message->rank = number;
    message->node = reidd_convert_text(rank->host);
    message->pid = rank->pid;
    message->iteration = rank->iteration;
    message->step_seconds = rank->data_s + rank->compute_s + rank->wait_s;
    message->data_seconds = rank->data_s;
    message->compute_seconds = rank->compute_s;
    message->wait_seconds = rank->wait_s;
    message->silent_seconds = silent_s;
    message->note = reidd_convert_text(note);
    reid_vec_push(list, message);
}

void reidd_convert_add_ranks(reidd_api *api, Reid__V1__Job *job)
{
    rank_list list = {0};
    const char *slow = reidd_manager_ranks(api->manager, job->id, add_rank, &list);
    job->n_rank_progress = list.count;
    job->rank_progress = list.items;
    job->straggler = reidd_convert_text(slow ? slow : "");
}

Reid__V1__JournalEntry *reidd_convert_entry(const reid_journal_entry *entry)
{
    Reid__V1__JournalEntry *message = reid_xmalloc(sizeof *message);
    reid__v1__journal_entry__init(message);
    message->seq = entry->seq;
    message->id = reidd_convert_text(entry->id);
    message->wall_ms = entry->wall_ms;
    message->who = reidd_convert_text(entry->who);
    message->iteration = entry->iteration;
    message->kind = reidd_convert_text(entry->kind);
    message->name = reidd_convert_text(entry->name);
    message->old = reidd_convert_text(entry->old_value);
    message->new_ = reidd_convert_text(entry->new_value);
    message->reason = reidd_convert_text(entry->reason);
    const char *hash = entry->line + strlen(entry->line) - 66; /* base/journal.h: ends in hash"} */
    message->hash = reid_xasprintf("%.64s", hash);
    return message;
}

/* ---- rows ---- */

reid_status reidd_convert_row(const Reid__V1__MetricRow *row, reidd_scalar *ret_scalars,
                              reidd_row *ret_row, reid_error *err)
{
    if (row->seq < 1)
        return reid_fail(err, REID_ERR_INVALID, "a row's number begins at 1, not at %lld",
                         (long long)row->seq);
    if (row->n_scalars > ROW_SCALARS)
        return reid_fail(err, REID_ERR_INVALID, "a row has at most %d scalars, not %zu",
                         ROW_SCALARS, row->n_scalars);
    for (size_t i = 0; i < row->n_scalars; i++) {
        size_t length = strlen(row->scalars[i]->name);
        if (length == 0 || length > NAME_BYTES)
            return reid_fail(err, REID_ERR_INVALID, "a metric's name has 1 to %d bytes, not %zu",
                             NAME_BYTES, length);
        ret_scalars[i] =
            (reidd_scalar){.name = row->scalars[i]->name, .value = row->scalars[i]->value};
    }
    *ret_row = (reidd_row){.seq = row->seq,
                           .iteration = row->iteration,
                           .scalars = ret_scalars,
                           .scalar_count = row->n_scalars};
    return REID_OK;
}

reid_status reidd_convert_packed_row(const void *bytes, size_t size, int attempt,
                                     void (*use)(const reidd_row *row, void *user), void *user,
                                     reid_error *err)
{
    ProtobufCMessage *message = NULL;
    REID_TRY(
        reid_rpc_unpack(&reid__v1__metric_row__descriptor, bytes, size, 64u << 20, &message, err));
    Reid__V1__MetricRow *row = (Reid__V1__MetricRow *)message;
    reidd_scalar *scalars = reid_xcalloc(row->n_scalars + 1, sizeof *scalars);
    reidd_row plain = {0};
    row->attempt = attempt; /* whoever wrote it: it belongs to this attempt */
    reid_status status = reidd_convert_row(row, scalars, &plain, err);
    if (status == REID_OK) {
        plain.size = reid__v1__metric_row__get_packed_size(row);
        uint8_t *packed = reid_xmalloc(plain.size + 1);
        reid__v1__metric_row__pack(row, packed);
        plain.bytes = packed;
        use(&plain, user);
        free(packed);
    }
    free(scalars);
    reid__v1__metric_row__free_unpacked(row, NULL);
    return status;
}
