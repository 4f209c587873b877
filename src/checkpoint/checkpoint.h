/* Checkpoints: one folder each, OUTPUT_DIR/model_0009, model_best or model_final.
 *
 *   OUTPUT_DIR/last_checkpoint      name of the newest checkpoint, as fast-reid writes it
 *   OUTPUT_DIR/model_0009/
 *     - model.safetensors, optimizer.safetensors: tensors under PyTorch's names, plain layout
 *     - state.json, config.yaml, …: texts of the caller
 *     - manifest.json: written last; sizes and XXH3 of all files, and who wrote them
 *
 * A folder counts only with a manifest that its files agree with. Writing:
 * reid_checkpoint_writer_begin → _add_tensor, _add_text → _commit (all disk work happens there):
 * everything goes into OUTPUT_DIR/.tmp-NAME-PID, is brought to disk and renamed into place, so that
 * a kill or a full disk at any moment leaves the checkpoints that were there. A checkpoint of the
 * same name is replaced by an exchange of the two folders or, where the file system has none, by
 * way of OUTPUT_DIR/.old-NAME-PID, from which it is recovered after a kill. All checkpoints are
 * kept. One process (rank 0) writes into an OUTPUT_DIR; any may read. Objects belong to one thread
 * at a time.
 */
#ifndef REID_CHECKPOINT_CHECKPOINT_H
#define REID_CHECKPOINT_CHECKPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "checkpoint/safetensors.h"

/* ---- writing ---- */

/* Called before each step of a commit, named as in "rename .tmp-model_0009-12"; a result other than
 * 0 makes that step fail with that errno. For tests. */
typedef int reid_checkpoint_fault(void *user, const char *step);

typedef struct reid_checkpoint_options {
    uint64_t config_hash;
    int world_size;
    int64_t iteration;                      /* finished iterations */
    int64_t epoch;                          /* finished epochs */
    const reid_safetensors_pair *libraries; /* name → version, such as "oneDNN" → "2.6.3"; copied */
    size_t library_count;
    bool mark_last;   /* commit() also points last_checkpoint at it */
    bool no_exchange; /* for tests: replace by way of .old- even where folders can be exchanged */
    reid_checkpoint_fault *fault;
    void *fault_user;
} reid_checkpoint_options;

typedef struct reid_checkpoint_writer reid_checkpoint_writer;

/* Makes `output_dir` when missing, recovers and cleans what an earlier kill left there. `name` is a
 * plain file name that does not begin with a dot. */
reid_status reid_checkpoint_writer_begin(const char *output_dir, const char *name,
                                         const reid_checkpoint_options *options,
                                         reid_checkpoint_writer **ret_writer, reid_error *err);
/* Adds a tensor to `file` ("model.safetensors"). The item's name is copied; its data, or what its
 * fill function needs, must stay until commit. */
reid_status reid_checkpoint_writer_add_tensor(reid_checkpoint_writer *writer, const char *file,
                                              const reid_safetensors_item *item, reid_error *err);
/* Adds a file with this content (copied). */
reid_status reid_checkpoint_writer_add_text(reid_checkpoint_writer *writer, const char *file,
                                            const void *text, size_t bytes, reid_error *err);
/* Once. On failure (EXHAUSTED: disk full; PERMISSION; IO) nothing of it is left and the earlier
 * checkpoints are as before; only when the last acts fail (bringing OUTPUT_DIR to disk, marking it
 * as the last one) the new checkpoint stays. */
reid_status reid_checkpoint_writer_commit(reid_checkpoint_writer *writer, reid_error *err);
/* NULL is fine; without commit nothing was written. */
void reid_checkpoint_writer_free(reid_checkpoint_writer *writer);

/* ---- reading ---- */

typedef struct reid_checkpoint reid_checkpoint;

typedef struct reid_checkpoint_info {
    const char *path; /* all strings live as long as the checkpoint */
    const char *name; /* as it was committed */
    uint64_t config_hash;
    int world_size;
    int64_t iteration, epoch;
    int64_t created_ms; /* Unix time */
} reid_checkpoint_info;

/* Reads and checks the manifest, that each file is there with its size, and (verify) its checksum.
 * CORRUPT names the bad file. */
reid_status reid_checkpoint_open(const char *dir, bool verify, reid_checkpoint **ret_checkpoint,
                                 reid_error *err);
void reid_checkpoint_free(reid_checkpoint *checkpoint);
const reid_checkpoint_info *reid_checkpoint_info_of(const reid_checkpoint *checkpoint);
const char *reid_checkpoint_library(const reid_checkpoint *checkpoint,
                                    const char *name); /* version, or NULL */
bool reid_checkpoint_has(const reid_checkpoint *checkpoint, const char *file);
/* The tensors of `file`; the reader belongs to the checkpoint. */
reid_status reid_checkpoint_tensors(reid_checkpoint *checkpoint, const char *file,
                                    const reid_safetensors **ret_tensors, reid_error *err);
/* One tensor of `file` with this type and shape, copied to ret_data. */
reid_status reid_checkpoint_tensor(reid_checkpoint *checkpoint, const char *file, const char *name,
                                   reid_safetensors_dtype dtype, int rank, const int64_t *shape,
                                   void *ret_data, reid_error *err);
/* A text file, NUL-terminated beyond *ret_size; caller frees. */
reid_status reid_checkpoint_text(const reid_checkpoint *checkpoint, const char *file,
                                 char **ret_text, size_t *ret_size, reid_error *err);

/* The checkpoint to resume from, opened and verified: the one that last_checkpoint names or, when
 * that is missing or broken, the valid one with the most iterations; each broken one is logged as a
 * warning that names the bad file. NOT_FOUND: there is no checkpoint; CORRUPT: there are some and
 * none is valid. Recovers what a kill during a replacement left, first. */
reid_status reid_checkpoint_latest(const char *output_dir, reid_checkpoint **ret_checkpoint,
                                   reid_error *err);

#endif
