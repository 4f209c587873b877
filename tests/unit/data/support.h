/* Small data sets for the tests of the data module. */
#ifndef DATA_TEST_SUPPORT_H
#define DATA_TEST_SUPPORT_H

#include <stdint.h>

#include "config/config.h"
#include "data/dataset.h"

/* A PNG of width × height in which pixel (x, y) is (shade + x, shade + y, shade), modulo 256. */
void test_write_png(const char *folder, const char *name, int width, int height, int shade);

/* An empty file called `name`, for tests that never decode. */
void test_write_empty(const char *folder, const char *name);

/* Market-1501's layout below folder: `pids` training identities from 2 on with `images` images each
 * over three cameras, and as many for testing from 1001 on: one query (camera 1) and the rest in
 * the gallery, with one distractor and one junk image. All images are 8 × 16 PNGs that differ. */
void test_write_market(const char *folder, int pids, int images);

/* A configuration with DATASETS.ROOT = folder, images of 24 × 12, no augmentation, and then KEY,
 * VALUE, …, NULL. */
reid_config *test_config(const char *folder, ...);

/* A dataset in memory: `images` images of each identity, cameras 0, 1, 2, 0, …; paths do not exist.
 */
reid_dataset *test_dataset(int pids, int images);

#endif
