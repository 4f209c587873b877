#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "feed.h"
#include "out/style.h"

#define SLICE_MS 200

typedef struct wait {
    reidctl *ctl;
    reidctl_feeds feeds;
    Reid__V1__Job *job; /* the newest snapshot */
    double deadline;    /* 0: none */
} wait;

/* OK when the job has ended. */
static reid_status watch(wait *w, reid_error *err)
{
    for (;;) {
        ProtobufCMessage *message = NULL;
        reid_status status = reidctl_feeds_next(&w->feeds, 0, SLICE_MS, &message, err);
        if (status != REID_OK && status != REID_ERR_TIMEOUT)
            return status;
        if (message != NULL) {
            reid__v1__job__free_unpacked(w->job, NULL);
            w->job = (Reid__V1__Job *)message;
        }
        if (reidctl_state_is_final(w->job->state))
            return REID_OK;
        if (status == REID_OK && message == NULL)
            reidctl_feeds_lose(&w->feeds, "reidd has ended the stream before the job ended");
        if (reidctl_is_interrupted())
            return reid_fail(err, REID_ERR_CANCELLED, "interrupted, the job goes on");
        if (w->deadline > 0 && reid_clock_seconds() >= w->deadline)
            return reid_fail(err, REID_ERR_TIMEOUT, "job %s has not ended within %g s", w->job->id,
                             w->ctl->args.timeout);
    }
}

static int wait_for(reidctl *ctl, const char *word, double deadline, bool *ret_ended)
{
    reid_error err = {0};
    wait w = {.ctl = ctl, .deadline = deadline};
    Reid__V1__WatchJobRequest request = REID__V1__WATCH_JOB_REQUEST__INIT;
    reidctl_feed feed = {
        .method = "Watch", .request = &request.base, .output = &reid__v1__job__descriptor};
    *ret_ended = false;
    if (reidctl_get_job(ctl, word, &w.job, &err) != REID_OK)
        return reidctl_report(&err);
    char *id = reid_xstrdup(w.job->id);
    request.id = id;
    int code;
    if (reidctl_feeds_init(&w.feeds, ctl, &feed, 1, &err) != REID_OK ||
        watch(&w, &err) != REID_OK) {
        code = reidctl_report(&err);
    } else {
        code = reidctl_report_end(w.job);
        *ret_ended = true;
    }
    reidctl_feeds_fini(&w.feeds);
    reid__v1__job__free_unpacked(w.job, NULL);
    free(id);
    return code;
}

int reidctl_cmd_wait(reidctl *ctl)
{
    double deadline = ctl->args.timeout > 0 ? reid_clock_seconds() + ctl->args.timeout : 0;
    int code = REIDCTL_OK;
    reidctl_catch_interrupt();
    for (int i = 0; i < ctl->word_count; i++) {
        bool ended;
        int this = wait_for(ctl, ctl->words[i], deadline, &ended);
        code = code == REIDCTL_OK ? this : code;
        if (!ended)
            return this;
    }
    return code;
}
