/* Inside the data module: what a reader of one data set gives, before identities are numbered. */
#ifndef REID_DATA_DATASET_READER_H
#define REID_DATA_DATASET_READER_H

#include "base/status.h"
#include "base/vec.h"

typedef struct reid_raw_item {
    char *path; /* owned */
    int pid;    /* as in the file's name; 0 = distractor (belongs to nobody) */
    int camid;  /* from 0 */
} reid_raw_item;

typedef REID_VEC(reid_raw_item) reid_raw_list;

typedef enum reid_split { REID_SPLIT_TRAIN, REID_SPLIT_QUERY, REID_SPLIT_GALLERY } reid_split;

/* One data set: one row of the table in dataset.c. */
typedef struct reid_dataset_reader {
    const char *name;  /* in DATASETS.NAMES and .TESTS */
    const char *label; /* first part of the label strings "label_<pid>" that give the order of
                          training identities */
    /* Appends the images of a split found under `root`, ordered by name. An empty or missing folder
     * is an error. */
    reid_status (*read)(const char *root, reid_split split, reid_raw_list *list, reid_error *err);
} reid_dataset_reader;

reid_status reid_market1501_read(const char *root, reid_split split, reid_raw_list *list,
                                 reid_error *err);

/* Identity and camera from a base name such as "0002_c1s1_000451_03.jpg": the first match of
 * ([-\d]+)_c(\d+). The camera counts from 0 in the result. */
reid_status reid_market1501_parse_name(const char *name, int *ret_pid, int *ret_camid,
                                       reid_error *err);

#endif
