#include "engine/nonfinite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"

#define RANKS_IN_SENTENCE 2
#define IMAGES_IN_SENTENCE 3

static bool rank_is_bad(const reid_nonfinite_report *report, int rank)
{
    const double *losses = report->losses + (size_t)rank * report->stride;
    for (size_t i = 0; i < report->loss_count; i++) {
        if (!isfinite(losses[i]))
            return true;
    }
    return false;
}

static int count_bad(const reid_nonfinite_report *report)
{
    int count = 0;
    for (int rank = 0; rank < report->comm->size; rank++)
        count += rank_is_bad(report, rank);
    return count;
}

/* ---- images ---- */

static void add_own_images(const reid_nonfinite_report *report, reid_str *out)
{
    if (count_bad(report) > 0 && !rank_is_bad(report, report->comm->rank))
        return;
    for (int i = 0; i < report->batch->count; i++)
        reid_str_addf(out, "rank %d: %s\n", report->comm->rank, report->batch->paths[i]);
}

/* Rank 0 collects and hands back to all, so that each rank can tell the whole story. What was
 * handed to a collective that failed stays allocated: the library may still know it. */
typedef struct shared_text {
    reid_str own;
    size_t *offsets;
    void *all; /* rank 0 */
    uint64_t length;
    char *text;
} shared_text;

static reid_status share(reid_comm *comm, shared_text *shared, reid_error *err)
{
    shared->offsets = reid_xcalloc((size_t)comm->size + 1, sizeof *shared->offsets);
    REID_TRY(reid_comm_gather_varied(comm, reid_str_text(&shared->own), shared->own.length, 0,
                                     &shared->all, shared->offsets, err));
    shared->length = shared->offsets[comm->size];
    REID_TRY(reid_comm_broadcast(comm, &shared->length, sizeof shared->length, 0, err));
    shared->text = reid_xcalloc((size_t)shared->length + 1, 1); /* a few paths per rank */
    if (comm->rank == 0)
        memcpy(shared->text, shared->all, (size_t)shared->length);
    return reid_comm_broadcast(comm, shared->text, (size_t)shared->length, 0, err);
}

static void collect_images(const reid_nonfinite_report *report, reid_str *out)
{
    shared_text *shared = reid_xcalloc(1, sizeof *shared);
    add_own_images(report, &shared->own);
    reid_error err = {0};
    if (share(report->comm, shared, &err) != REID_OK) {
        reid_log_warn("the images of the other ranks are not known: %s", err.text);
        reid_str_add(out, reid_str_text(&shared->own));
        return;
    }
    reid_str_add(out, shared->text);
    reid_str_fini(&shared->own);
    free(shared->offsets);
    free(shared->all);
    free(shared->text);
    free(shared);
}

/* ---- the sentence ---- */

/* printf shows a NaN's sign, which means nothing. */
static void add_number(reid_str *out, double value)
{
    if (isnan(value))
        reid_str_add(out, "nan");
    else
        reid_str_addf(out, "%.6g", value);
}

static void add_rank_losses(const reid_nonfinite_report *report, int rank, reid_str *out)
{
    reid_str_addf(out, "; on rank %d", rank);
    const reid_step *step = report->step;
    const double *losses = report->losses + (size_t)rank * report->stride;
    size_t column = 0;
    for (size_t i = 0; i < step->impl->scalar_count(step); i++) {
        if (!step->impl->scalar_is_loss(step, i))
            continue;
        reid_str_addf(out, "%s %s=", column ? "," : "", step->impl->scalar_name(step, i));
        add_number(out, losses[column++]);
    }
}

static void add_losses(const reid_nonfinite_report *report, reid_str *out)
{
    int bad = count_bad(report);
    int listed = 0;
    for (int rank = 0; rank < report->comm->size && listed < RANKS_IN_SENTENCE; rank++) {
        if (bad > 0 && !rank_is_bad(report, rank))
            continue;
        add_rank_losses(report, rank, out);
        listed++;
    }
    int rest = (bad > 0 ? bad : report->comm->size) - listed;
    if (rest > 0)
        reid_str_addf(out, "; and on %d more rank%s", rest, rest == 1 ? "" : "s");
}

static void add_images(const char *images, reid_str *out)
{
    size_t total = 0;
    for (const char *p = images; (p = strchr(p, '\n')); p++)
        total++;
    if (total == 0)
        return;
    reid_str_addf(out, "; images: ");
    const char *line = images;
    for (size_t i = 0; i < total && i < IMAGES_IN_SENTENCE; i++) {
        const char *path = strstr(line, ": ") + 2;
        size_t length = strcspn(path, "\n");
        reid_str_addf(out, "%s%.*s", i ? ", " : "", (int)length, path);
        line = path + length + 1;
    }
    if (total > IMAGES_IN_SENTENCE)
        reid_str_addf(out, " and %zu more, all named in the log", total - IMAGES_IN_SENTENCE);
}

reid_status reid_nonfinite_fail(const reid_nonfinite_report *report, reid_str *images,
                                reid_error *err)
{
    collect_images(report, images);
    reid_str sentence = REID_STR_INIT;
    reid_str_addf(&sentence, "Loss became infinite or NaN at iteration=%lld: total_loss=",
                  (long long)report->iter);
    add_number(&sentence, report->total);
    add_losses(report, &sentence);
    add_images(reid_str_text(images), &sentence);
    reid_status status = reid_fail(err, REID_ERR_NONFINITE, "%s", reid_str_text(&sentence));
    reid_str_fini(&sentence);
    return status;
}
