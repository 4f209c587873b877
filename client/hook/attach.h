/* A hook that is a program on this side: HookService.Attach between reidd and its pipes.
 *
 * Events become lines (hook/lines.h), its lines become verdicts (hook/verdict.h), in their order.
 * The line "attached" may be answered, too; whatever that asks for does not count. (When it comes
 * so late that the first event has been written, it is taken for that one's, and the next for the
 * next one's, until one is left over.) A program that is slow misses events: at most 64 wait for
 * its answer, and at most 256 KiB of them for its reading.
 *
 * The end, and the exit status:
 *   the program ends with 0        what is unanswered is continued, the hook is removed       0
 *   it ends otherwise, or writes   the event is answered with an error, so that the policy    1
 *   what cannot be understood      on_error applies, then the hook is removed
 *   Ctrl-C                         as with 0; a second one ends at once                     130
 *   the training ends              the program's input ends, and it has 5 s to end, too       0
 *   the stream breaks              the same                                of the failure
 */
#ifndef REIDCTL_HOOK_ATTACH_H
#define REIDCTL_HOOK_ATTACH_H

#include "command.h"
#include "reid/v1/hook.pb-c.h"

/* Holds the stream until the end. argv ends with NULL. Returns the exit status. */
int reidctl_attach(reidctl *ctl, const Reid__V1__RegisterHook *request, char **argv);

#endif
