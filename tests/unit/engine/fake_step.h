/* A step without data or network: losses come from a script. */
#ifndef ENGINE_TEST_FAKE_STEP_H
#define ENGINE_TEST_FAKE_STEP_H

#include "base/str.h"
#include "engine/step.h"

typedef struct fake_step {
    reid_step base;
    int rank;
    int losses;    /* 1: loss_cls; 2: and loss_triplet; cls_accuracy comes with both */
    double next_s; /* next() is busy for this long */
    double (*value)(int rank, int64_t iter,
                    int scalar); /* 0 loss_cls, 1 loss_triplet, 2 accuracy */
    int fail_in;                 /* 0 none, 1 next, 2 forward, 3 backward, 4 update */
    int64_t iter;                /* of the next batch */
    reid_str calls;              /* "n0 f0 b0 u0 n1 …" */
    char paths[4][32];           /* "/data/r0_i3_0.jpg": of the batch */
    const char *path_list[4];
} fake_step;

/* Belongs to the trainer, but stays readable: reid_step_free does nothing; fini frees what it
 * holds. */
void fake_step_init(fake_step *step, int rank, double (*value)(int rank, int64_t iter, int scalar));
void fake_step_fini(fake_step *step);

#endif
