/* What a request asks of the scheduler. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/str.h"
#include "config/config.h"
#include "daemon/manager_private.h"
#include "daemon/sched/after.h"

#define MOST_TIME_S (10.0 * 366 * 86400)
#define TYPE_BYTES 128

static reid_status check_capacity(const reidd_manager *manager, const char *gpu_type, int ranks,
                                  reid_error *err)
{
    int most = reidd_sched_capacity(manager->nodes, gpu_type);
    if (ranks <= most)
        return REID_OK;
    if (most == 0 && !*gpu_type)
        return reid_fail(err, REID_ERR_PRECONDITION,
                         "no node of the cluster has slots: all reidds run with --slots 0");
    if (most == 0)
        return reid_fail(err, REID_ERR_PRECONDITION, "no node has GPUs of type '%s'", gpu_type);
    if (*gpu_type)
        return reid_fail(err, REID_ERR_PRECONDITION,
                         "the job needs %d GPUs of type '%s', of which there are %d", ranks,
                         gpu_type, most);
    if (manager->nodes->count > 1)
        return reid_fail(err, REID_ERR_PRECONDITION,
                         "the job needs %d slots, and the nodes that can be used together have %d",
                         ranks, most);
    return reid_fail(err, REID_ERR_PRECONDITION, "the job needs %d slots, this node has %d", ranks,
                     most);
}

reid_status reidd_wishes_check(const reidd_manager *manager, const reidd_submit_request *request,
                               int ranks, reid_error *err)
{
    if (request->priority < -REIDD_PRIORITY_MAX || request->priority > REIDD_PRIORITY_MAX)
        return reid_fail(err, REID_ERR_INVALID, "a priority is between %d and %d, not %d",
                         -REIDD_PRIORITY_MAX, REIDD_PRIORITY_MAX, request->priority);
    if (!(request->max_time_s >= 0 && request->max_time_s <= MOST_TIME_S)) /* or no number */
        return reid_fail(err, REID_ERR_INVALID,
                         "the time limit is %g s, but must be between 0 and %g s",
                         request->max_time_s, MOST_TIME_S);
    if (request->min_ranks < 0 || request->min_ranks > ranks)
        return reid_fail(err, REID_ERR_INVALID,
                         "the least number of ranks is %d, but the job has %d ranks",
                         request->min_ranks, ranks);
    if (strlen(request->gpu_type) > TYPE_BYTES)
        return reid_fail(err, REID_ERR_INVALID, "a type of GPUs has at most %d bytes", TYPE_BYTES);
    if (request->after_count > REIDD_AFTER_MOST)
        return reid_fail(err, REID_ERR_INVALID, "a job waits for at most %d others, not %zu",
                         REIDD_AFTER_MOST, request->after_count);
    return check_capacity(manager, request->gpu_type, ranks, err);
}

reid_status reidd_wishes_fewer(const reid_config *config, int ranks, int min_ranks,
                               char **ret_fewer, reid_error *err)
{
    reid_str fewer = REID_STR_INIT;
    reid_error why = {0};
    if (min_ranks == 0 || min_ranks == ranks)
        return REID_OK;
    for (int count = ranks - 1; count >= min_ranks; count--)
        if (reid_config_check_world(config, count, why.code == REID_OK ? &why : NULL) == REID_OK)
            reid_str_addf(&fewer, "%s%d", fewer.length > 0 ? "," : "", count);
    if (fewer.length == 0)
        return reid_fail(err, REID_ERR_INVALID,
                         "the job could go on with none of %d to %d ranks: %s", min_ranks,
                         ranks - 1, why.text);
    *ret_fewer = reid_str_take(&fewer);
    return REID_OK;
}

static reid_status add_after(reidd_manager *manager, const char *word, reid_str *text,
                             reid_error *err)
{
    REID_AUTOFREE char *key = NULL;
    bool any = false;
    char id[16];
    reidd_job_view view = {0};
    REID_TRY(reidd_after_parse(word, &key, &any, err));
    REID_TRY(reidd_manager_find(manager, key, id, err));
    REID_TRY(reidd_manager_view(manager, id, &view, err));
    reidd_state state = view.job.state;
    reidd_job_view_fini(&view);
    if (!any && reidd_state_is_final(state) && state != REIDD_SUCCEEDED)
        return reid_fail(err, REID_ERR_PRECONDITION,
                         "job %s has ended as %s: a job that starts after its success never would",
                         id, reidd_state_name(state));
    reid_str_addf(text, "%s%s:%s", text->length > 0 ? "," : "", id, any ? "any" : "ok");
    return REID_OK;
}

reid_status reidd_wishes_after(reidd_manager *manager, const reidd_submit_request *request,
                               char **ret_after, reid_error *err)
{
    reid_str text = REID_STR_INIT;
    reid_status status = REID_OK;
    for (size_t i = 0; status == REID_OK && i < request->after_count; i++)
        status = add_after(manager, request->after[i], &text, err);
    if (status == REID_OK && text.length > 0)
        *ret_after = reid_str_take(&text);
    reid_str_fini(&text);
    return status;
}

void reidd_wishes_fill(const reidd_submit_request *request, char *own_after,
                       reidd_wishes *ret_wishes)
{
    *ret_wishes = (reidd_wishes){
        .priority = request->priority,
        .max_time_ms = (int64_t)ceil(request->max_time_s * 1000),
        .after = own_after,
        .gpu_type = *request->gpu_type ? reid_xstrdup(request->gpu_type) : NULL,
        .held = request->hold,
        .no_preempt = request->no_preempt,
    };
}
