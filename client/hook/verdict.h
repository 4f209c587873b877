/* What a program answers to an event, as it becomes a verdict.
 *
 * One line, either an object of JSON:
 *
 *     {}                                   go on
 *     {"stop": true}, {"stop": "why"}      {"checkpoint": true}  {"evaluate": true}
 *     {"skip_step": true}                  {"set": {"lr": 1e-4}} {"put": {"name": 1.5}}
 *     {"error": "why"}                     the hook has failed; whatever else it says does not
 * count
 *
 * with any of these members together; or words:
 *
 *     (nothing)  continue                  go on
 *     stop [why ...]                       checkpoint            evaluate
 *     skip_step                            set lr=1e-4 ...       put name=1.5 ...
 *     error why ...
 *
 * Life: zeroed → reidctl_verdict_add, once for each line that counts for the event →
 * reidctl_verdict_message → reidctl_verdict_fini, after which it is empty again.
 */
#ifndef REIDCTL_HOOK_VERDICT_H
#define REIDCTL_HOOK_VERDICT_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/vec.h"
#include "reid/v1/hook.pb-c.h"

/* As reidd holds them against a client. */
#define REIDCTL_VERDICT_ACTIONS 64
#define REIDCTL_VERDICT_SETTINGS 32
#define REIDCTL_VERDICT_TEXT_BYTES 1000

typedef struct reidctl_verdict {
    REID_VEC(Reid__V1__HookAction *) actions;
    char *error;                   /* NULL: it has not failed */
    Reid__V1__HookVerdict message; /* points into the others */
} reidctl_verdict;

/* Takes in a line, without its end. INVALID with a sentence when it cannot be understood, or when
 * it asks for too much; then it has added nothing. */
reid_status reidctl_verdict_add(reidctl_verdict *verdict, const char *line, size_t length,
                                reid_error *err);
/* Makes it one of failure, whatever it was. */
void reidctl_verdict_fail(reidctl_verdict *verdict, const char *why);
/* For sending; valid until the next call of these. */
const Reid__V1__HookVerdict *reidctl_verdict_message(reidctl_verdict *verdict, int64_t event);
void reidctl_verdict_fini(reidctl_verdict *verdict);

#endif
