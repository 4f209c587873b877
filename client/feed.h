/* Streams of JobService that outlive a restart of reidd.
 *
 *     reidctl_feed feed = {.method = "Watch", .request = &request.base, .output = &…__descriptor};
 *     reidctl_feeds feeds; reidctl_feeds_init(&feeds, ctl, &feed, 1);
 *     while (reidctl_feeds_next(&feeds, 0, 200, &message, &err) …)
 *     reidctl_feeds_fini(&feeds);
 *
 * When the connection is lost, _next looks for reidd again for args.reconnect seconds and starts
 * every feed once more with its request as it is then: the owner keeps the cursor in the request up
 * to date. That reidd cannot be reached in the first place is a failure at once.
 */
#ifndef REIDCTL_FEED_H
#define REIDCTL_FEED_H

#include "connect.h"

typedef struct reidctl_feed {
    const char *method; /* "Metrics" */
    const ProtobufCMessage *request;
    const ProtobufCMessageDescriptor *output;
    reid_rpc_client_stream *stream;
    bool ended;
} reidctl_feed;

typedef struct reidctl_feeds {
    reidctl *ctl;
    reidctl_feed *items;
    size_t count;
    bool silent; /* says nothing on standard error about a lost connection */
    /* Of the last loss; reid_clock_seconds. */
    double give_up_at, try_at, found_at;
    reid_error why;
} reidctl_feeds;

/* Connects and starts the streams. */
reid_status reidctl_feeds_init(reidctl_feeds *feeds, reidctl *ctl, reidctl_feed *items,
                               size_t count, reid_error *err);
void reidctl_feeds_fini(reidctl_feeds *feeds);

/* The next message of feed `which` (free it with protobuf_c_message_free_unpacked), or NULL once it
 * has ended. TIMEOUT: nothing has come within wait_ms (not 0), or a signal has; `err` is left as it
 * is. Anything else is the end. */
reid_status reidctl_feeds_next(reidctl_feeds *feeds, size_t which, uint32_t wait_ms,
                               ProtobufCMessage **ret_message, reid_error *err);

/* Whether it is looking for reidd. */
bool reidctl_feeds_is_lost(const reidctl_feeds *feeds);

/* Starts one feed again from its request: something is missing in the stream. */
void reidctl_feeds_again(reidctl_feeds *feeds, size_t which);

/* Takes the connection for lost; all feeds begin again, also those that have ended. */
void reidctl_feeds_lose(reidctl_feeds *feeds, const char *why);

/* For a feed that follows a job and has ended: whether the job has ended, too. If it has not, reidd
 * is going down, and the connection is taken for lost. Call it again while it says no. */
reid_status reidctl_feeds_check_end(reidctl_feeds *feeds, const char *job_id, bool *ret_ended,
                                    reid_error *err);

#endif
