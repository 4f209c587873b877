/* What a member runs for the head: parts, the ranks of an attempt on this node.
 *
 * A part is a folder of its own, parts/JOB/attempt-N in the state folder, with the files of an
 * attempt (exec/files.h), a reidd-shim that supervises orted and its ranks (`--part`), and the
 * job's configuration beside it. It outlives this daemon and the connection to the head: what its
 * ranks write is mirrored (mirror.h) when the head is there, and its end is reported after that,
 * again and again until the head has stored it and says forget.
 *
 * What the head asks for is checked once more here (part_words.h): nothing but orted is started,
 * and it speaks to the head alone.
 *
 * Life: reidd_parts_new (takes over what runs, registers with the cluster) → the loop runs →
 * reidd_parts_close. Parts go on without it. Loop thread only.
 */
#ifndef REIDD_CLUSTER_PART_H
#define REIDD_CLUSTER_PART_H

#include <stdbool.h>

#include <uv.h>

#include "daemon/cluster/cluster.h"
#include "daemon/gpus.h"

#define REIDD_PART_TICK_MS 200 /* how often files are looked at */

typedef struct reidd_parts reidd_parts;

typedef struct reidd_parts_options {
    reidd_cluster *cluster; /* borrowed; this node is a member */
    const char *state_dir;  /* absolute */
    const char *shim;
    const char *link_address;            /* of this node, for the ranks */
    const char *hook_dir;                /* NULL: none */
    const struct reidd_confine *confine; /* exec/confine.h; borrowed */
    reidd_gpus *gpus;                    /* borrowed */
    uid_t lowest_uid;                    /* of the accounts that ranks run as (access/run_as.h) */
} reidd_parts_options;

reid_status reidd_parts_new(uv_loop_t *loop, const reidd_parts_options *options,
                            reidd_parts **ret_parts, reid_error *err);
/* Its memory goes when the loop has run. NULL is accepted. */
void reidd_parts_close(reidd_parts *parts);

/* Whether ranks of this attempt belong here, so that their links are relayed to the head. NULL is
 * accepted. */
bool reidd_parts_has(const reidd_parts *parts, const char *job_id, int attempt);
/* Those whose ranks have GPUs: a list by UUID, from rank `first` on. NULL is accepted. */
void reidd_parts_each_gpus(const reidd_parts *parts,
                           void (*each)(const char *job_id, int first, const char *gpus,
                                        void *user),
                           void *user);

#endif
