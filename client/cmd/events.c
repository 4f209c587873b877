#include <stdio.h>

#include "base/compiler.h"
#include "feed.h"
#include "out/event.h"

#define SLICE_MS 200

static void print_events(const reidctl *ctl, const Reid__V1__EventsChunk *chunk)
{
    reid_str out = REID_STR_INIT;
    for (size_t i = 0; i < chunk->n_events; i++) {
        if (reidctl_output_is(ctl, "json"))
            reidctl_add_event_json(&out, chunk->events[i]);
        else
            reidctl_add_event(&out, chunk->events[i]);
        reid_str_add(&out, "\n");
    }
    fwrite(reid_str_text(&out), 1, out.length, stdout);
    fflush(stdout);
    reid_str_fini(&out);
}

static int print_stream(reidctl *ctl, reidctl_feeds *feeds, Reid__V1__EventsRequest *request)
{
    reid_error err = {0};
    for (;;) {
        ProtobufCMessage *message = NULL;
        reid_status status = reidctl_feeds_next(feeds, 0, SLICE_MS, &message, &err);
        bool ended = status == REID_OK && message == NULL;
        if (message != NULL) {
            const Reid__V1__EventsChunk *chunk = (const Reid__V1__EventsChunk *)message;
            print_events(ctl, chunk);
            for (size_t i = 0; i < chunk->n_events; i++)
                request->after = REID_MAX(request->after, chunk->events[i]->number);
            protobuf_c_message_free_unpacked(message, NULL);
        }
        if (ended && request->follow)
            status = reidctl_feeds_check_end(feeds, request->id, &ended, &err);
        if (status != REID_OK && status != REID_ERR_TIMEOUT)
            return reidctl_report(&err);
        if (ended)
            return REIDCTL_OK;
        if (reidctl_is_stopped())
            return REIDCTL_INTERRUPTED;
    }
}

int reidctl_cmd_events(reidctl *ctl)
{
    Reid__V1__EventsRequest request = REID__V1__EVENTS_REQUEST__INIT;
    Reid__V1__Job *job = NULL;
    reidctl_feed feed = {.method = "Events",
                         .request = &request.base,
                         .output = &reid__v1__events_chunk__descriptor};
    reidctl_feeds feeds;
    reid_error err = {0};
    reidctl_catch_interrupt();
    if (reidctl_get_job(ctl, ctl->words[0], &job, &err) != REID_OK)
        return reidctl_report(&err);
    request.id = job->id; /* a name could mean another job later */
    request.follow = ctl->args.follow;
    int code;
    if (reidctl_feeds_init(&feeds, ctl, &feed, 1, &err) != REID_OK) {
        code = reidctl_report(&err);
    } else {
        reid_str head = REID_STR_INIT;
        reidctl_add_event_head(&head);
        if (reidctl_output_is(ctl, "table") && !ctl->args.no_headers)
            puts(reid_str_text(&head));
        reid_str_fini(&head);
        code = print_stream(ctl, &feeds, &request);
    }
    reidctl_feeds_fini(&feeds);
    reid__v1__job__free_unpacked(job, NULL);
    return code;
}
