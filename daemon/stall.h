/* Who keeps a job waiting: what the ranks' flight recorders (base/flight.h) tell while nobody gets
 * on, and after a failure. The ranks write them into the attempt's folder; reading them needs
 * nothing from the ranks, so they may hang or be dead. Those of other nodes are asked for when half
 * of the time has passed without progress, and come by themselves when ranks have failed.
 *
 * While a job trains and no rank reports progress for --stall-notice seconds, the sentence is what
 * the job says of itself, and an event of kind "stall". Nothing is stopped: the ranks have
 * deadlines of their own (COMM.TIMEOUT_S), and so has the attempt (deadline.h), which are looked at
 * by the same timer. After a failure it is one event of kind "flight".
 */
#ifndef REIDD_STALL_H
#define REIDD_STALL_H

#include "daemon/manager_private.h"

/* Of a running job: looks from now on. Uses active->timer until the attempt ends. */
void reidd_active_watch(reidd_active *active);
/* A rank has become slow, or no longer is: an event of kind "straggler". */
void reidd_active_note_slow(reidd_active *active);
/* At the first sign of a failure, and at the end of a failed attempt: told once an attempt. */
void reidd_active_note_flight(reidd_active *active);
/* A new attempt, or the end of all. */
void reidd_active_forget_stall(reidd_active *active);

#endif
