/* GuestHost: the hook that holds the guests of a training (guest/guest.h), in order of addition.
 *
 * All ranks have the same list: it changes by control words only. Only rank 0 has the guests
 * themselves, but for kinds of all ranks. Guests are called between the hooks that make metrics and
 * those that write and save them.
 *
 * A guest's wishes at before_step are obeyed before that step, at other points before the next
 * thing that happens; so, where a guest is due that the training waits for, all ranks take part in
 * one small broadcast (reid_guest_host_is_due). Wishes of asynchronous guests take the way of words
 * from people.
 *
 * Failure: a guest that fails, is late or is lost is treated by its policy; `fail` ends the
 * training with "hook 'NAME' (id N, KIND), after_step: …".
 *
 * Resume: list, states and counters are in the checkpoint (remote guests are not: their client
 * must come again). Words that came from a guest are in the journal and are replayed; what a guest
 * wishes again at an iteration that the journal has already is dropped.
 *
 * Threads: the stepping thread.
 */
#ifndef REID_ENGINE_GUEST_HOST_H
#define REID_ENGINE_GUEST_HOST_H

#include "engine/guest/guest.h"

#define REID_GUESTS_MAX 256

struct reid_control;

typedef struct reid_guest_info {
    int64_t id; /* seq of the journal's hook_add */
    const reid_guest_spec *spec;
    bool enabled;
    int64_t iteration; /* added before this one */
    const char *who;
    int64_t calls, late, missed;
    double seconds;         /* spent on it */
    const char *last_error; /* "": none */
} reid_guest_info;

typedef struct reid_guest_host_options {
    int rank;
    reid_guest_env env; /* env.trainer is set by the host */
    double deadline_s;  /* the longest that one may be waited for: below what ranks wait for each
                           other */
    /* Rank 0, stepping thread: something about a guest has happened, or (guest 0, sentence NULL)
     * the list has changed. NULL: nobody wants to know. */
    void (*note)(void *user, int64_t guest, const char *sentence);
    void *user;
} reid_guest_host_options;

typedef struct reid_guest_host reid_guest_host;
/* *ret_hook is the host as a hook, for reid_trainer_add_hook, which owns it. */
reid_guest_host *reid_guest_host_new(const reid_guest_host_options *options, reid_hook **ret_hook);
bool reid_guest_host_is(const reid_guest_host *host, const reid_hook *hook);
/* Before the training. */
void reid_guest_host_set_control(reid_guest_host *host, struct reid_control *control);

/* Whether a guest is enabled for this point that the training waits for. The same on all ranks.
 */
bool reid_guest_host_is_due(const reid_guest_host *host, reid_point point);

/* For control words. Rank 0: whether the guest of this spec could be added; the spec as it goes
 * into the journal, all points named. */
reid_status reid_guest_host_try(reid_guest_host *host, const char *name, const char *spec_json,
                                char **ret_name, reid_str *ret_spec, reid_error *err);
/* All ranks. Whoever is added gets its before_train. An id that is not there is ignored. */
reid_status reid_guest_host_add(reid_guest_host *host, int64_t id, const char *spec_json,
                                int64_t iteration, const char *who, bool *ret_wishes,
                                reid_error *err);
void reid_guest_host_remove(reid_guest_host *host, int64_t id);
void reid_guest_host_enable(reid_guest_host *host, int64_t id, bool enabled);
const char *reid_guest_host_name(const reid_guest_host *host, int64_t id); /* NULL: no such guest */

size_t reid_guest_host_count(const reid_guest_host *host);
reid_guest_info reid_guest_host_at(const reid_guest_host *host, size_t index);

#endif
