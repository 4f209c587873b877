/* What the link carries for hooks from outside, between the stepping thread and the link's loop
 * thread: a mailbox per remote hook, the list of all hooks, sentences for the job's events.
 *
 * Nothing grows without end: a mailbox whose client does not keep up drops events (its sender is
 * told), a client that answers far more than it is looked at is lost, of sentences the oldest go.
 *
 * Threads: functions say which. All take one mutex for a short time.
 */
#ifndef REID_TRAIN_LINK_MAIL_H
#define REID_TRAIN_LINK_MAIL_H

#include <pthread.h>
#include <stdbool.h>
#include <time.h>

#include "engine/guest/host.h"
#include "engine/guest/remote.h"
#include "reid/v1/link.pb-c.h"

#define REID_LINK_EVENTS_WAITING 64 /* of one hook, not yet on the wire */
#define REID_LINK_VERDICTS_WAITING 1024
#define REID_LINK_NOTES_WAITING 64

typedef struct reid_link_mail reid_link_mail;

/* `wake` is called on the stepping thread when something waits to be sent. */
reid_link_mail *reid_link_mail_new(void (*wake)(void *user), void *user);
void reid_link_mail_free(reid_link_mail *mail); /* NULL is fine */

/* ---- stepping thread ---- */

const reid_remote_port *reid_link_mail_port(const reid_link_mail *mail);
void reid_link_mail_hooks(reid_link_mail *mail, const reid_guest_info *list, size_t count,
                          int64_t iteration);
void reid_link_mail_note(reid_link_mail *mail, int64_t guest, const char *sentence);

/* ---- loop thread ---- */

/* A daemon has accepted the link: it is told the list again. */
void reid_link_mail_up(reid_link_mail *mail);
/* Every client has gone with the daemon; events that wait are dropped. */
void reid_link_mail_down(reid_link_mail *mail);
void reid_link_mail_verdict(reid_link_mail *mail, const Reid__V1__LinkHookVerdict *message);
void reid_link_mail_gone(reid_link_mail *mail, const Reid__V1__LinkHookGone *message);
/* Gives what waits to `send`, in order, until it returns false. False when something is left. */
bool reid_link_mail_flush(reid_link_mail *mail, bool (*send)(void *user, Reid__V1__LinkUp *up),
                          void *user);
bool reid_link_mail_is_empty(reid_link_mail *mail);

/* For waiting on the monotonic clock. */
void reid_link_condition_init(pthread_cond_t *condition);
struct timespec reid_link_time_after(double seconds);

#endif
