/* The head's side of jobs whose ranks are on several nodes: for each running attempt, its parts on
 * other nodes (a crew), and the agents through which mpirun asks for them.
 *
 * A part: idle ──agent comes, PartStart──▶ starting ──▶ running ──▶ over. It is over when the node
 * has reported its end (everything is mirrored by then), refused it, or was lost. What happens is
 * also told to the attempt's supervisor by files (shim/away.h). A part that its node loses before
 * it has a supervisor there, as when a daemon is killed meanwhile, is idle again. An agent that
 * goes away takes its part along, unless this daemon itself ends: then the agent comes again to the
 * next one.
 *
 * A node that comes back after it was given up still hands over what its ranks have written, into
 * the folder of that attempt, which is over; its rank 0 may have brought rows that nobody has seen.
 *
 * Nobody's process on another node is ever signalled from here; members do that.
 *
 * Life: reidd_crews_new (registers with the cluster) → reidd_crew_new for each attempt, also for
 * one that is adopted → reidd_crew_stop … → on_settled → reidd_crew_close → reidd_crews_close.
 * Callbacks come from the loop. Loop thread only.
 */
#ifndef REIDD_CLUSTER_AGENT_H
#define REIDD_CLUSTER_AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "daemon/cluster/cluster.h"

#define REIDD_PART_ABORT_MS 2000 /* between TERM and KILL when an agent has gone */

typedef struct reidd_crews reidd_crews;
typedef struct reidd_crew reidd_crew;
typedef struct reidd_agent reidd_agent;

/* A part with rank 0 that had been given up is here after all, its files in the attempt's folder.
 * reidd_crews_forget lets its node know that they are not needed there any more. */
typedef void reidd_crews_on_late(const char *node, const char *job_id, int attempt, void *user);

/* `cluster`: this node is its head. Borrowed. `state_dir`: where jobs/ID/attempt-N are. */
reidd_crews *reidd_crews_new(uv_loop_t *loop, reidd_cluster *cluster, const char *state_dir,
                             reidd_crews_on_late *on_late, void *user);
/* When the node cannot be told, it asks again by itself. */
void reidd_crews_forget(reidd_crews *crews, const char *node, const char *job_id, int attempt);
void reidd_crews_close(reidd_crews *crews); /* NULL is accepted */

typedef struct reidd_crew_spec {
    const char *job_id, *name, *user;
    int attempt;
    const char *folder; /* of the attempt */
    const char *config_path;
    const char *ticket;
    const char *placement; /* sched/nodes.h */
    int ranks;
    int64_t grace_ms;
    bool adopted; /* it was started by a daemon before this one */
} reidd_crew_spec;

typedef struct reidd_crew_events {
    /* The attempt cannot go on, and why: "node3 was lost: nothing was heard of it for 5 s". */
    void (*on_failed)(const char *node, const char *sentence, void *user);
    /* No part is left; once, after reidd_crew_finish. */
    void (*on_settled)(void *user);
} reidd_crew_events;

/* The texts are copied; `events` is kept. INVALID: no placement, or of unknown nodes. */
reid_status reidd_crew_new(reidd_crews *crews, const reidd_crew_spec *spec,
                           const reidd_crew_events *events, void *user, reidd_crew **ret_crew,
                           reid_error *err);
/* TERM to the ranks on the other nodes, KILL after the grace. */
void reidd_crew_stop(reidd_crew *crew, int64_t grace_ms);
/* Its ranks do not get on: their flight recorders come into the attempt's folder soon. */
void reidd_crew_look(reidd_crew *crew); /* NULL is accepted */
/* The attempt's own supervisor has ended: what is left is stopped, and on_settled tells when
 * nothing is. A node that does not answer is not waited for longer than limit_ms. */
void reidd_crew_finish(reidd_crew *crew, int64_t limit_ms);
/* Callbacks come no more. NULL is accepted. */
void reidd_crew_close(reidd_crew *crew);

/* ---- agents (api/agent.c) ---- */

typedef struct reidd_agent_events {
    void (*started)(void *user);
    void (*again)(void *user);                /* it shall come again; the last one */
    void (*ended)(int exit_code, void *user); /* the last one, like failed */
    void (*failed)(const char *sentence, void *user);
} reidd_agent_events;

/* An agent has come for the part on `host`, with the command that mpirun gave it. The events may
 * come from inside. PERMISSION: wrong words. NOT_FOUND: no part is there. PRECONDITION: it has an
 * agent already, or is over. UNAVAILABLE: the node is not connected now; come again. */
reid_status reidd_crew_attach(reidd_crew *crew, const char *host, char *const *words, size_t count,
                              const reidd_agent_events *events, void *user, reidd_agent **ret_agent,
                              reid_error *err);
/* The agent's call is over. `gone`: the agent itself has ended; its part is stopped. */
void reidd_crew_detach(reidd_agent *agent, bool gone);

#endif
