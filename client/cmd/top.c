/* `top`: the GPUs of all nodes, or the ranks of one job. */
#include "connect.h"
#include "live.h"
#include "out/ranks.h"

static reid_status look_at_ranks(reidctl *ctl, size_t columns, reid_str *out, reid_error *err)
{
    Reid__V1__Job *job = NULL;
    const reidctl_ranks_sight sight = {
        .columns = columns, .color = ctl->color, .headers = !ctl->args.no_headers};
    REID_TRY(reidctl_get_job(ctl, ctl->words[0], &job, err));
    if (reidctl_output_is(ctl, "json"))
        reidctl_ranks_json(job, out);
    else
        reidctl_ranks_top(job, &sight, out);
    reid__v1__job__free_unpacked(job, NULL);
    return REID_OK;
}

int reidctl_cmd_top(reidctl *ctl)
{
    return reidctl_live(ctl, ctl->word_count > 0 ? look_at_ranks : reidctl_look_at_gpus);
}
