#include "daemon/sched/sched.h"

#include <stdbool.h>

#include "base/str.h"

static int used_slots(const reidd_sched_job *running, size_t count)
{
    int used = 0;
    for (size_t i = 0; i < count; i++)
        used += running[i].ranks;
    return used;
}

void reidd_sched_plan(int slots, const reidd_sched_job *running, size_t running_count,
                      const reidd_sched_job *queue, size_t queue_count,
                      reidd_sched_verdict *ret_verdicts)
{
    int used = used_slots(running, running_count);
    bool held = false;
    for (size_t i = 0; i < queue_count; i++) {
        if (queue[i].ranks > slots) {
            ret_verdicts[i] = REIDD_SCHED_REFUSE;
        } else if (!held && used + queue[i].ranks <= slots) {
            ret_verdicts[i] = REIDD_SCHED_START;
            used += queue[i].ranks;
        } else {
            ret_verdicts[i] = REIDD_SCHED_WAIT;
            held = true;
        }
    }
}

char *reidd_sched_reason(int slots, const reidd_sched_job *running, size_t running_count,
                         const reidd_sched_job *queue, size_t index)
{
    enum { NAMED = 3 };
    reid_str text = REID_STR_INIT;
    int ranks = queue[index].ranks;
    if (index > 0) {
        reid_str_addf(&text, "waits for its turn: job %s is before it in the queue",
                      queue[index - 1].id);
        return reid_str_take(&text);
    }
    reid_str_addf(&text, "waits for %d slot%s", ranks, ranks == 1 ? "" : "s");
    if (running_count == 0)
        return reid_str_take(&text);
    reid_str_add(&text, running_count == 1 ? ": job " : ": jobs ");
    for (size_t i = 0; i < running_count && i < NAMED; i++)
        reid_str_addf(&text, "%s%s",
                      i == 0                   ? ""
                      : i + 1 == running_count ? " and "
                                               : ", ",
                      running[i].id);
    if (running_count > NAMED)
        reid_str_addf(&text, " and %zu more", running_count - NAMED);
    reid_str_addf(&text, " %s (%d of %d slots are used)", running_count == 1 ? "runs" : "run",
                  used_slots(running, running_count), slots);
    return reid_str_take(&text);
}
