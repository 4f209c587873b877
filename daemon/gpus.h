/* The GPUs of this node: those that are slots, and how all of them are.
 *
 * A node that offers GPUs has one slot for each. They are named by UUID, since numbers change with
 * a reboot or a broken card. Without NVIDIA's library or driver there are none, and nothing is lost
 * but that. Loop thread only; the driver is asked on a worker thread of the loop, one question at a
 * time, for it may take long or hang.
 *
 * Life: reidd_gpus_new → reidd_gpus_look … → reidd_gpus_close; its memory goes when the loop has
 * run.
 */
#ifndef REIDD_GPUS_H
#define REIDD_GPUS_H

#include <stdbool.h>
#include <stddef.h>

#include <uv.h>

#include "base/status.h"
#include "gpu/gpu.h"

typedef struct reidd_gpus reidd_gpus;

/* choice: "auto" offers all GPUs that answer, "none" offers none, "GPU-…,GPU-…" those (NOT_FOUND
 * when one is not there). */
reid_status reidd_gpus_new(uv_loop_t *loop, const char *choice, reidd_gpus **ret_gpus,
                           reid_error *err);
void reidd_gpus_close(reidd_gpus *gpus); /* NULL is accepted */

/* Those that are slots. */
size_t reidd_gpus_count(const reidd_gpus *gpus);
/* The name of the first of them ("NVIDIA H100 80GB HBM3"); NULL without any. The texts live as long
 * as nobody looks. */
const char *reidd_gpus_type(const reidd_gpus *gpus);
bool reidd_gpus_offers(const reidd_gpus *gpus, const char *uuid);

/* The first `count` offered GPUs that are in none of the `held` lists, as a list "GPU-…,GPU-…" in
 * the order of ranks; caller frees. NULL: there are not so many. */
char *reidd_gpus_pick(const reidd_gpus *gpus, char *const *held, size_t held_count, int count);
/* Place of a GPU in such a list: the rank; -1: it is not in it. */
int reidd_gpus_place(const char *list, const char *uuid);

/* How all GPUs of the node are, at most a second old. */
typedef struct reidd_gpu_weather {
    const reid_gpu_info *infos;
    size_t count;
    const char *driver; /* version, "" when not told */
    const char *note;   /* why there are none, or ""; a sentence */
} reidd_gpu_weather;

/* Embedded in its owner. `done` is called once, maybe from within _look. */
typedef struct reidd_gpu_look {
    void (*done)(struct reidd_gpu_look *look, const reidd_gpu_weather *weather);
    reidd_gpus *gpus; /* NULL: not waiting */
    struct reidd_gpu_look *next;
} reidd_gpu_look;

void reidd_gpus_look(reidd_gpus *gpus, reidd_gpu_look *look);
void reidd_gpus_look_cancel(reidd_gpu_look *look); /* not waiting: nothing happens */

#endif
