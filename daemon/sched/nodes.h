/* The nodes that jobs may run on, and where a job lies on them. Pure data: who is up is written by
 * the cluster (on its head), who runs where is decided by the scheduler (sched.h).
 *
 * Row 0 is this node (the head). A daemon without a cluster has this row alone. Rows are in the
 * order of the cluster's file and never move while the daemon lives, so an index names a node.
 *
 * Life: a zeroed reidd_nodes → reidd_nodes_add for each → the fields are changed in place
 * (reidd_node_set_text for the texts) → reidd_nodes_fini. After a change the manager is to be told
 * (reidd_manager_nodes_changed): jobs that wait may start now. Loop thread only.
 */
#ifndef REIDD_SCHED_NODES_H
#define REIDD_SCHED_NODES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

typedef struct reidd_node {
    char *name;
    int slots;      /* ranks that it takes at a time; 0: none, such as a head that only schedules */
    bool unknown;   /* it has never been heard: its slots are 0 until then */
    bool up;        /* heard of lately: jobs can be started there */
    bool drained;   /* by an operator: what runs there goes on, nothing new is started */
    char *note;     /* why it is down or drained, for people; NULL: no reason */
    char *gpu_type; /* "NVIDIA H100 80GB HBM3": its slots are these GPUs; NULL: it has none */
} reidd_node;

typedef struct reidd_nodes {
    reidd_node *items;
    size_t count, capacity;
} reidd_nodes;

/* A new row at the end, up and not drained; texts are copied, gpu_type may be NULL. The pointer is
 * valid until the next row is added. */
reidd_node *reidd_nodes_add(reidd_nodes *nodes, const char *name, int slots, const char *gpu_type);
/* NULL when there is none. */
reidd_node *reidd_nodes_find(const reidd_nodes *nodes, const char *name);
void reidd_nodes_fini(reidd_nodes *nodes); /* frees the rows and zeroes; NULL is accepted */
/* *text becomes a copy of value (NULL: none); what was there is freed. */
void reidd_node_set_text(char **text, const char *value);
/* Whether a job may be started there. */
bool reidd_node_takes_jobs(const reidd_node *node);

/* ---- placements ---- */

/* Where the ranks of a job are, in rank order: "node1:2,node3:2" has ranks 0 and 1 on node1, 2 and
 * 3 on node3. As a text in reidd_job.placement; NULL and "" mean all ranks on this node (row 0). A
 * name occurs once. */
typedef struct reidd_share {
    char *node;
    int ranks; /* at least 1 */
} reidd_share;

typedef struct reidd_placement {
    reidd_share *items; /* count 0: all ranks on this node */
    size_t count, capacity;
} reidd_placement;

/* INVALID for what is no placement. Free with _fini in any case. */
reid_status reidd_placement_parse(const char *text, reidd_placement *ret_placement,
                                  reid_error *err);
void reidd_placement_fini(reidd_placement *placement);
/* Ranks on the node of this row; `ranks` is what the job has in all. 0 for a text that is no
 * placement. */
int reidd_placement_ranks_on(const char *text, int ranks, const reidd_nodes *nodes, size_t row);

/* Whether the list of names with commas has this one. NULL is an empty list. */
bool reidd_names_have(const char *names, const char *name);

#endif
