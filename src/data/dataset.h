/* Data sets: lists of images with identity and camera.
 *
 * A set is one row of the table in dataset.c (name → reader). Its folder is looked for under
 * DATASETS.ROOT, else $FASTREID_DATASETS, else "datasets".
 *
 * Life: reid_dataset_open_* → use → reid_dataset_free. Immutable after opening; any thread may read
 * it.
 */
#ifndef REID_DATA_DATASET_H
#define REID_DATA_DATASET_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "config/config.h"

typedef struct reid_image_item {
    char *path;
    int pid;   /* training: label in [0, num_pids); testing: the identity's own number (0 =
                  distractor) */
    int camid; /* training: label in [0, num_cams); testing: camera, counted from 0 */
} reid_image_item;

typedef struct reid_dataset {
    char *name; /* "Market1501", or "A+B" when several training sets are joined */
    reid_image_item *items;
    size_t count;
    int num_pids, num_cams; /* distinct ones */
} reid_dataset;

/* All sets of DATASETS.NAMES, joined and relabelled: labels follow the sorted (bytewise) order of
 * "market1501_<pid>" strings, as fast-reid's CommDataset does. DATASETS.COMBINEALL adds query and
 * gallery as identities of their own (without distractors). Within a folder, images are in the
 * order of their names. */
reid_status reid_dataset_open_train(const reid_config *config, reid_dataset **ret_dataset,
                                    reid_error *err);

/* Query and gallery of the set NAME (one of DATASETS.TESTS). */
reid_status reid_dataset_open_test(const reid_config *config, const char *name,
                                   reid_dataset **ret_query, reid_dataset **ret_gallery,
                                   reid_error *err);

void reid_dataset_free(reid_dataset *dataset);

/* fast-reid's table of "subset | # ids | # images | # cameras" in pipe format, one row per set
 * (caller frees). */
char *reid_dataset_table(size_t count, const char *const *subsets,
                         const reid_dataset *const *datasets);

#endif
