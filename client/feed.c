#include "feed.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "out/style.h"

#define TRY_EVERY_S 0.25
#define STEADY_S 1.0 /* a connection that is lost before that was not found at all */

static reid_status start(reidctl_feeds *feeds, reidctl_feed *feed, reid_error *err)
{
    char path[128];
    snprintf(path, sizeof path, "/reid.v1.JobService/%s", feed->method);
    return reid_rpc_client_start(feeds->ctl->client, path, feed->request, feed->output,
                                 &feed->stream, err);
}

static void stop_all(reidctl_feeds *feeds)
{
    for (size_t i = 0; i < feeds->count; i++) {
        reid_rpc_client_stop(feeds->items[i].stream);
        feeds->items[i].stream = NULL;
        feeds->items[i].ended = false;
    }
}

static reid_status start_all(reidctl_feeds *feeds, reid_error *err)
{
    REID_TRY(reidctl_connect(feeds->ctl, err));
    for (size_t i = 0; i < feeds->count; i++)
        REID_TRY(start(feeds, &feeds->items[i], err));
    return REID_OK;
}

reid_status reidctl_feeds_init(reidctl_feeds *feeds, reidctl *ctl, reidctl_feed *items,
                               size_t count, reid_error *err)
{
    *feeds = (reidctl_feeds){.ctl = ctl, .items = items, .count = count};
    return start_all(feeds, err);
}

void reidctl_feeds_fini(reidctl_feeds *feeds)
{
    stop_all(feeds);
}

bool reidctl_feeds_is_lost(const reidctl_feeds *feeds)
{
    return feeds->ctl->client == NULL;
}

void reidctl_feeds_lose(reidctl_feeds *feeds, const char *why)
{
    double now = reid_clock_seconds(), patience_s = feeds->ctl->args.reconnect;
    bool is_new = feeds->give_up_at == 0 ||
                  (!reidctl_feeds_is_lost(feeds) && now >= feeds->found_at + STEADY_S);
    stop_all(feeds);
    reidctl_disconnect(feeds->ctl);
    feeds->try_at = now + TRY_EVERY_S;
    if (!is_new)
        return;
    feeds->give_up_at = now + patience_s;
    reid_error_clear(&feeds->why);
    reid_fail(&feeds->why, REID_ERR_UNAVAILABLE, "%s", why);
    if (feeds->silent || patience_s <= 0)
        return;
    fflush(stdout);
    fprintf(stderr, "reidctl: %s; looking for it for %g s, the job goes on\n", why, patience_s);
}

/* One try to find reidd again, when it is time for one. TIMEOUT: not yet. */
static reid_status look_again(reidctl_feeds *feeds, uint32_t wait_ms, reid_error *err)
{
    reid_error failure = {0};
    double now = reid_clock_seconds();
    if (feeds->ctl->args.reconnect <= 0)
        return reid_fail(err, REID_ERR_UNAVAILABLE, "%s", feeds->why.text);
    if (now >= feeds->give_up_at)
        return reid_fail(err, REID_ERR_UNAVAILABLE, "%s, and it has not come back within %g s",
                         feeds->why.text, feeds->ctl->args.reconnect);
    if (now < feeds->try_at) {
        uint32_t left_ms = (uint32_t)((feeds->try_at - now) * 1000) + 1;
        reidctl_pause(REID_MIN(left_ms, wait_ms));
        return REID_ERR_TIMEOUT;
    }
    reid_status status = start_all(feeds, &failure);
    feeds->found_at = now;
    if (status == REID_OK)
        return REID_OK;
    reidctl_feeds_lose(feeds, failure.text);
    /* A socket may be there before its permissions are. */
    if (status == REID_ERR_UNAVAILABLE || status == REID_ERR_TIMEOUT ||
        status == REID_ERR_PERMISSION || status == REID_ERR_CANCELLED)
        return REID_ERR_TIMEOUT;
    return reid_fail(err, status, "%s", failure.text);
}

reid_status reidctl_feeds_next(reidctl_feeds *feeds, size_t which, uint32_t wait_ms,
                               ProtobufCMessage **ret_message, reid_error *err)
{
    reidctl_feed *feed = &feeds->items[which];
    reid_error failure = {0};
    ProtobufCMessage *message = NULL;
    if (!feed->ended && reidctl_feeds_is_lost(feeds))
        REID_TRY(look_again(feeds, wait_ms, err));
    if (!feed->ended) {
        reid_status status = reid_rpc_client_next(feed->stream, wait_ms, &message, &failure);
        if (status == REID_ERR_UNAVAILABLE)
            reidctl_feeds_lose(feeds, failure.text);
        if (status == REID_ERR_UNAVAILABLE || status == REID_ERR_TIMEOUT)
            return REID_ERR_TIMEOUT;
        if (status != REID_OK)
            return reid_fail(err, status, "%s", failure.text);
        feed->ended = message == NULL;
    }
    *ret_message = message;
    return REID_OK;
}

void reidctl_feeds_again(reidctl_feeds *feeds, size_t which)
{
    reidctl_feed *feed = &feeds->items[which];
    reid_error failure = {0};
    reid_rpc_client_stop(feed->stream);
    feed->stream = NULL;
    feed->ended = false;
    if (feeds->ctl->client != NULL && start(feeds, feed, &failure) != REID_OK)
        reidctl_feeds_lose(feeds, failure.text);
}

reid_status reidctl_feeds_check_end(reidctl_feeds *feeds, const char *job_id, bool *ret_ended,
                                    reid_error *err)
{
    Reid__V1__Job *job = NULL;
    reid_error failure = {0};
    *ret_ended = false;
    reid_status status = reidctl_get_job(feeds->ctl, job_id, &job, &failure);
    if (status == REID_ERR_UNAVAILABLE || status == REID_ERR_TIMEOUT ||
        status == REID_ERR_CANCELLED) {
        reidctl_feeds_lose(feeds, failure.text);
        return REID_OK;
    }
    if (status != REID_OK)
        return reid_fail(err, status, "%s", failure.text);
    *ret_ended = reidctl_state_is_final(job->state);
    reid__v1__job__free_unpacked(job, NULL);
    if (!*ret_ended)
        reidctl_feeds_lose(feeds, "reidd has ended the stream before the job ended");
    return REID_OK;
}
