/* The way of a remote guest's events and verdicts, as the engine sees it. train/link.c gives the
 * real one: over the link to the daemon, from there to the client. Tests give their own.
 *
 * Each guest has a mailbox of the port from open to close. Events are numbered by the guest from 1.
 * Threads: called on the stepping thread; none but `wait` blocks.
 */
#ifndef REID_ENGINE_GUEST_REMOTE_H
#define REID_ENGINE_GUEST_REMOTE_H

#include "engine/guest/guest.h"

typedef struct reid_remote_event {
    int64_t number;
    const reid_moment *moment;
    size_t scalar_count;
    const reid_event_row_scalar *scalars;
} reid_remote_event;

typedef struct reid_remote_verdict {
    int64_t event;      /* that it answers */
    reid_wishes wishes; /* taken by the caller */
    char *error;        /* the hook has failed, and why; NULL: it has not. Taken by the caller */
} reid_remote_verdict;

typedef struct reid_remote_port {
    void *user;
    void (*open)(void *user, int64_t guest);
    void (*close)(void *user, int64_t guest);
    /* Queues the event. false: the queue is full, the event is dropped. UNAVAILABLE shows in wait.
     */
    bool (*send)(void *user, int64_t guest, const reid_remote_event *event);
    /* The next verdict, in order. TIMEOUT when there is none within `seconds` (0: at once).
     * UNAVAILABLE when the client, or the daemon, has gone: err says how. */
    reid_status (*wait)(void *user, int64_t guest, double seconds, reid_remote_verdict *ret_verdict,
                        reid_error *err);
} reid_remote_port;

#endif
