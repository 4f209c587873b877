/* Whether the head's machine can be reached, while its daemon is silent. A daemon that is down
 * refuses connections, and the job's mpirun beside it lives on; a machine that is gone, or a cut
 * cable, answers nothing, and then the ranks here belong to a job that cannot go on: TCP alone
 * would let them wait for a quarter of an hour.
 *
 * Life: reidd_probe_new → _start (the head was lost) → on_cut, at most once for each start, or
 * _stop (it is back) → _close; its memory goes when the loop has run. Loop thread only.
 */
#ifndef REIDD_CLUSTER_PART_PROBE_H
#define REIDD_CLUSTER_PART_PROBE_H

#include <uv.h>

#define REIDD_PROBE_MS 1000    /* between two tries */
#define REIDD_CUT_OFF_MS 10000 /* without any answer, since the head was heard last */

typedef struct reidd_probe reidd_probe;

/* `address`: "tcp://HOST:PORT"; anything else is always reachable. */
reidd_probe *reidd_probe_new(uv_loop_t *loop, const char *host, const char *address,
                             void (*on_cut)(void *user), void *user);
/* The head was heard `silent_ms` ago. */
void reidd_probe_start(reidd_probe *probe, int64_t silent_ms);
void reidd_probe_stop(reidd_probe *probe);
void reidd_probe_close(reidd_probe *probe); /* NULL is accepted */

#endif
